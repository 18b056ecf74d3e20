"""One attempt of a run, from its claim to its end: the next steps, their work, what is written.

A generic interpreter over the template that was stored with the run, so that editing a file never
changes a run under way. What one step leaves to be written goes with the next write, as long as
no work lies between: the fewer transactions, the more runs.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

from convergence.engine import alert, record
from convergence.engine.attempt import RUN_TIMEOUT, STOPPING, Claim
from convergence.engine.attempt import attempt as try_step
from convergence.engine.end import end
from convergence.engine.names import built_ins, late_names
from convergence.engine.service import Service
from convergence.errors import Cancelled, CdpError, Conflict, StepFailed
from convergence.model import binding, graph
from convergence.model.cancel import CancelToken
from convergence.model.run import ENDED, Run, Status, StepRun
from convergence.model.template import OnFailure, Step
from convergence.outside import logs
from convergence.outside.logs import Log
from convergence.steps.base import Report
from convergence.store import runs
from convergence.store.database import WriteTx
from convergence.warehouse.question import Value

T = TypeVar("T")

log = Log(__name__)


class Process(Protocol):
    """What a walk asks of the process that it is in."""

    @property
    def service(self) -> Service: ...

    @property
    def leaving(self) -> threading.Event:
        """Set once the process stops: what only waits is left to another one."""
        ...

    def outlast(self, act: Callable[[], T]) -> T:
        """Do what may be repeated, also over an outage of the store."""
        ...

    def token(self, run_id: str, step: Step, *, is_cancelled: bool) -> CancelToken:
        """What ends the step from outside; `is_cancelled` says that somebody asked for it."""
        ...


@dataclass(kw_only=True)
class Walk:
    """`claim` has the attempt that every write carries, `records` the steps that were begun."""

    process: Process
    claim: Claim
    records: dict[str, StepRun]
    _begun: list[StepRun] = field(default_factory=list)
    """Steps that were written as begun, and whose work follows."""
    _unwritten: list[StepRun] = field(default_factory=list)

    @property
    def run(self) -> Run:
        return self.claim.run

    @property
    def outcomes(self) -> Mapping[str, Status]:
        """How steps ended, those under earlier attempts too: a takeover is no second try."""
        return {
            step_id: step.status for step_id, step in self.records.items() if step.status in ENDED
        }

    def begin(self, tx: WriteTx) -> None:
        """Write that the first steps begin, in the transaction of the claim."""
        self._begun = self._started(self.next_steps())
        if self._begun:
            runs.add_steps(tx, self._begun)

    def to_the_end(self) -> None:
        """Run all steps, those that may run side by side so. Raises as `run_steps` does."""
        while ready := self.next_steps():
            self.run_steps(ready)
        self.finish()

    def next_steps(self) -> Sequence[Step]:
        """Those that may start now: ordinary ones side by side, then the terminal ones in order."""
        steps, outcomes, is_overdue = (
            self.claim.template.steps,
            self.outcomes,
            self._late() is not None,
        )
        if not is_overdue and (ready := graph.ready(steps, outcomes)):
            return ready
        terminal = graph.terminal(steps, graph.outcome(steps, outcomes, is_overdue=is_overdue))
        return [step for step in terminal if step.step_id not in outcomes][:1]

    def run_steps(self, steps: Sequence[Step]) -> None:
        """Run them and record how they ended: a failure is an outcome, not an exception.

        Raises Conflict when the run has passed to a newer attempt, whose word counts; Cancelled
        when the process stops; Unavailable when the store is away.
        """
        begun, is_cancelled = self._begun, self.run.cancel_requested
        self._begun = []
        if not begun:
            begun = self._started(steps)
            is_cancelled = self._write(begun)
        self.records |= {each.step_id: each for each in begun}
        run_one = partial(self._run_step, is_cancelled=is_cancelled)
        if len(steps) == 1:
            self._unwritten.append(run_one(steps[0], begun[0]))
        else:
            with ThreadPoolExecutor(len(steps)) as pool:
                ended = pool.map(lambda *each: self._write([run_one(*each)]), steps, begun)
            list(ended)

    def finish(self) -> None:
        """Record the steps that never ran as SKIPPED, and the run's end."""
        service = self.process.service
        status, error = self._verdict()
        left = [step for step in self.claim.template.steps if step.step_id not in self.outcomes]
        last = [*self._unwritten, *map(record.skipped, self._started(left))]
        self.process.outlast(partial(end, service, self.run, status, error, last_steps=last))

    def _started(self, steps: Iterable[Step]) -> list[StepRun]:
        now, template = self.process.service.clock.now(), self.claim.template
        return [record.started(self.run, step, template=template, now=now) for step in steps]

    def _run_step(self, step: Step, begun: StepRun, *, is_cancelled: bool) -> StepRun:
        run, service = self.run, self.process.service
        token = self.process.token(run.run_id, step, is_cancelled=is_cancelled)
        with logs.bind(tenant_id=run.tenant_id, run_id=run.run_id, step_id=step.step_id):
            ended = self._ended(step, begun, token)
        self.records[step.step_id] = ended
        if ended.status is Status.FAILED and step.on_failure is OnFailure.ALERT:
            self.process.outlast(partial(alert.step_failed, service, run, ended))
        return ended

    def _ended(self, step: Step, begun: StepRun, token: CancelToken) -> StepRun:
        """Do the work. Raises Cancelled when the process stops: then nothing is an outcome."""
        clock = self.process.service.clock
        try:
            report = self.process.outlast(partial(self._work, step, token))
            return record.completed(begun, report, now=clock.now())
        except Exception as error:
            if token.reason is not None and token.reason.code == STOPPING:
                raise token.reason from error
            if isinstance(error, Cancelled) and error.code == STOPPING:
                raise
            ended = record.failed(begun, error, now=clock.now())
            if ended.status is Status.CANCELLED:
                log.warning("step cancelled", reason=ended.error)
            else:
                log.exception("step failed")
            return ended

    def _work(self, step: Step, token: CancelToken) -> Report:
        names = self._names(step)
        return try_step(
            self.process.service,
            self.claim,
            step,
            names=names,
            token=token,
            leaving=self.process.leaving,
        )

    def _write(self, steps: Sequence[StepRun]) -> bool:
        """Write these, and what was left to be written. Whether somebody cancelled the run."""
        written = [*self._unwritten, *steps]

        def write() -> runs.Hold | None:
            with self.process.service.database.write() as tx:
                held = runs.held(tx, self.run.tenant_id, self.run.run_id, self.run.attempt)
                if held is not None:
                    runs.put_steps(tx, written)
                return held

        held = self.process.outlast(write)
        if held is None:
            run_id, attempt = self.run.run_id, self.run.attempt
            log.warning("attempt lost, nothing written", run_id=run_id, attempt=attempt)
            raise Conflict(f"run {run_id} has passed to another attempt", code="attempt_lost")
        self._unwritten.clear()
        return held.is_cancelled

    def _names(self, step: Step) -> Mapping[str, Value]:
        """What `{name}` means in this step."""
        service, run = self.process.service, self.run
        tenant, template = self.claim.tenant, self.claim.template
        known = built_ins(
            service, tenant, template, run_date=run.run_date, trigger_by=run.trigger_by
        )
        status, cause = self._verdict()
        late = late_names(service, run, step, status=status, error=cause.detail if cause else "")
        return binding.step_names(step.variables, {**known, **run.parameters, **late})

    def _late(self) -> StepRun | None:
        """The step at which the run's time was over."""
        late = (step for step in self.records.values() if step.error_code == RUN_TIMEOUT)
        return next(late, None)

    def _verdict(self) -> tuple[Status, CdpError | None]:
        """How the run ended, or stands, and why. A step that may fail cannot excuse a run out of
        time. While the run goes on, the reason is that of a step that has failed so far.
        """
        late = self._late()
        steps = self.claim.template.steps
        status = graph.outcome(steps, self.outcomes, is_overdue=late is not None)
        if status is Status.COMPLETED:
            return status, None
        if late is not None and status is Status.FAILED:
            return status, StepFailed(f"{late.step_id}: {late.error}", code=RUN_TIMEOUT)
        return status, _named(graph.cause(steps, self._in_order()))

    def _in_order(self) -> Iterable[StepRun]:
        return sorted(self.records.values(), key=lambda step: step.index)


def _named(first: StepRun | None) -> CdpError | None:
    """What ended the run so far, as an error that names the step."""
    if first is None:
        return None
    return StepFailed(f"{first.step_id}: {first.error}", code=first.error_code or "step_failed")
