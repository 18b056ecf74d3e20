"""Execute a run: claim it, walk its steps, finish it. Every write carries the run's attempt.

The walk is a generic interpreter over the template that was stored with the run, so that editing
a file never changes a run under way. `work.py` gives each act a thread; a command that owns the
home walks them by itself.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from convergence.engine import alert, record
from convergence.engine.attempt import RUN_TIMEOUT
from convergence.engine.attempt import attempt as try_step
from convergence.engine.end import end
from convergence.engine.names import built_ins, late_names
from convergence.engine.outlast import outlast
from convergence.engine.service import Service
from convergence.errors import Cancelled, CdpError, Conflict, StepFailed
from convergence.library import from_snapshot
from convergence.model import binding, graph
from convergence.model.cancel import CancelToken
from convergence.model.run import ENDED, Run, Status, StepRun
from convergence.model.template import OnFailure, Step, StepTrigger, Template
from convergence.outside import logs
from convergence.outside.logs import Log
from convergence.steps.base import Report, step_models
from convergence.store import runs, tenants
from convergence.warehouse.base import Value

T = TypeVar("T")

MAX_ATTEMPTS = 5
STOPPING = "stopping"
"""Work broken off because the process ends: no outcome, the next start goes on."""

log = Log(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A claimed run: the attempt its writes carry, its steps, and how those before it ended."""

    attempt: int
    steps: tuple[Step, ...]
    outcomes: Mapping[str, Status]


@dataclass(kw_only=True)
class Executor:
    """Executes runs for one process. `tokens` has the runs under way here, and ends their work.

    Of these, `overdue` are out of time, and `closing` are at their terminal steps.
    """

    service: Service
    worker: str
    tokens: dict[str, CancelToken] = field(default_factory=dict)
    overdue: set[str] = field(default_factory=set)
    closing: set[str] = field(default_factory=set)
    _broken_off: threading.Event = field(default_factory=threading.Event)
    _templates: dict[tuple[str, str], Template] = field(default_factory=dict)

    def walk(self, tenant_id: str, run_id: str) -> None:
        """Execute a run from its claim to its end; steps that may run side by side do."""
        with self.under_way(run_id):
            claim = self.begin(tenant_id, run_id)
            if claim is None:
                return
            outcomes = dict(claim.outcomes)
            while batch := self.next_steps(run_id, claim.steps, outcomes):
                run_one = partial(
                    self.run_step, tenant_id, run_id, attempt=claim.attempt, so_far=dict(outcomes)
                )
                ids = [step.step_id for step in batch]
                with ThreadPoolExecutor(len(ids)) as pool:
                    outcomes |= dict(zip(ids, pool.map(run_one, ids), strict=True))
            self.finish(tenant_id, run_id, attempt=claim.attempt, outcomes=outcomes)

    @contextmanager
    def under_way(self, run_id: str) -> Iterator[None]:
        """While inside, the run has a token here: nobody takes it for lost."""
        self.tokens[run_id] = CancelToken()
        try:
            yield
        finally:
            self.tokens.pop(run_id, None)
            self.overdue.discard(run_id)
            self.closing.discard(run_id)

    def cancel(self, run_id: str) -> None:
        """End the ordinary steps of a run under way here, if it still has some."""
        token = self.tokens.get(run_id)
        if token is not None and run_id not in self.closing:
            token.trip(Cancelled("the run was cancelled"))

    def break_off(self) -> None:
        """End all work without an outcome: the process stops."""
        self._broken_off.set()
        for token in list(self.tokens.values()):
            token.trip(Cancelled("the service is stopping", code=STOPPING))

    def begin(self, tenant_id: str, run_id: str) -> Claim | None:
        """Claim the run. None when it is over, or cannot be executed and is now FAILED.

        Steps that ended under an earlier attempt stay as they are: a takeover goes on, it is no
        second try.
        """
        now = self.service.clock.now()

        def claim() -> tuple[Run | None, list[StepRun]]:
            with self.service.database.write() as tx:
                run = runs.claim(tx, tenant_id, run_id, worker=self.worker, now=now)
                return run, runs.steps(tx, tenant_id, run_id) if run else []

        run, before = self._outlast(claim)
        if run is None:
            return None
        try:
            _check_attempts(run, before)
            steps = self._template(run).steps
        except CdpError as error:
            log.exception("run given up", tenant_id=tenant_id, run_id=run_id)
            cut_off = [
                record.failed(replace(step, attempt=run.attempt), error, now=now)
                for step in before
                if step.status not in ENDED
            ]
            self._end(run, Status.FAILED, error, cut_off)
            return None
        if any(step.error_code == RUN_TIMEOUT for step in before):
            self.overdue.add(run_id)
        outcomes = {step.step_id: step.status for step in before if step.status in ENDED}
        return Claim(attempt=run.attempt, steps=steps, outcomes=outcomes)

    def next_steps(
        self, run_id: str, steps: Sequence[Step], outcomes: Mapping[str, Status]
    ) -> Sequence[Step]:
        """Those that may start now: ordinary ones side by side, then the terminal ones in order."""
        is_overdue = run_id in self.overdue
        if not is_overdue and (ready := graph.ready(steps, outcomes)):
            return ready
        terminal = graph.terminal(steps, graph.outcome(steps, outcomes, is_overdue=is_overdue))
        return [step for step in terminal if step.step_id not in outcomes][:1]

    def run_step(
        self,
        tenant_id: str,
        run_id: str,
        step_id: str,
        *,
        attempt: int,
        so_far: Mapping[str, Status],
    ) -> Status:
        """Run one step and record how it ended: a failure is an outcome, not an exception.

        Raises Conflict when the run has passed to a newer attempt, whose word counts; Cancelled
        when the process stops; Unavailable when the store is away.
        """
        run, records = self._records(tenant_id, run_id, attempt=attempt)
        before = {step.step_id: step for step in records}
        if step_id in before and before[step_id].status in ENDED:
            return before[step_id].status
        template = self._template(run)
        step = next(step for step in template.steps if step.step_id == step_id)
        clock = self.service.clock
        begun = record.started(run, step, template=template, attempt=attempt, now=clock.now())
        self._save(begun)

        def work(token: CancelToken) -> Report:
            names = self._names(run, step, template=template, so_far=so_far, before=before)
            return try_step(self.service, run, step, template=template, names=names, token=token)

        with logs.bind(tenant_id=tenant_id, run_id=run_id, step_id=step_id):
            ended = self._ended(begun, self._token(run, step), work)
        self._save(ended)
        if ended.error_code == RUN_TIMEOUT:
            self.overdue.add(run_id)
        if ended.status is Status.FAILED and step.on_failure is OnFailure.ALERT:
            alert.step_failed(self.service, run, ended)
        return ended.status

    def finish(
        self, tenant_id: str, run_id: str, *, attempt: int, outcomes: Mapping[str, Status]
    ) -> None:
        """Record the steps that never ran as SKIPPED, and the run's end."""
        run, records = self._records(tenant_id, run_id, attempt=attempt)
        template = self._template(run)
        status, error = _verdict(template, outcomes, records)
        now = self.service.clock.now()
        skipped = [
            record.skipped(record.started(run, step, template=template, attempt=attempt, now=now))
            for step in template.steps
            if step.step_id not in outcomes
        ]
        self._end(run, status, error, skipped)

    def _records(self, tenant_id: str, run_id: str, *, attempt: int) -> tuple[Run, list[StepRun]]:
        """The run as this attempt writes it, and its steps so far."""

        def read() -> tuple[Run, list[StepRun]]:
            with self.service.database.read() as tx:
                run = replace(runs.get(tx, tenant_id, run_id), attempt=attempt)
                return run, runs.steps(tx, tenant_id, run_id)

        return self._outlast(read)

    def _outlast(self, act: Callable[[], T]) -> T:
        return outlast(act, until=self._broken_off)

    def _end(
        self, run: Run, status: Status, error: CdpError | None, last_steps: Sequence[StepRun]
    ) -> None:
        self._outlast(partial(end, self.service, run, status, error, last_steps=last_steps))

    def _template(self, run: Run) -> Template:
        """The template as it was when the run was admitted. Raises Invalid."""
        known = (run.template, run.template_hash)
        if known not in self._templates:
            models = step_models(self.service.step_types)
            self._templates[known] = from_snapshot(run.template, run.snapshot, models)
        return self._templates[known]

    def _ended(
        self, begun: StepRun, token: CancelToken, work: Callable[[CancelToken], Report]
    ) -> StepRun:
        """Do the work. Raises Cancelled when the process stops: then nothing is an outcome."""
        clock = self.service.clock
        try:
            report = self._outlast(lambda: work(token))
            return record.completed(begun, report, now=clock.now())
        except Exception as error:
            if token.reason is not None and token.reason.code == STOPPING:
                raise token.reason from error
            log.exception("step failed")
            return record.failed(begun, error, now=clock.now())

    def _token(self, run: Run, step: Step) -> CancelToken:
        """What ends the step from outside. A cancelled run still has its terminal steps."""
        token = self.tokens.setdefault(run.run_id, CancelToken())
        if step.trigger is StepTrigger.ALWAYS:
            if run.cancel_requested:
                self.cancel(run.run_id)
        elif run.run_id not in self.closing:
            # In this order, so that a cancel that comes meanwhile finds the old token, or none.
            self.closing.add(run.run_id)
            before, token = token, CancelToken()
            self.tokens[run.run_id] = token
            if before.reason is not None and before.reason.code == STOPPING:
                token.trip(before.reason)
        return token

    def _save(self, step: StepRun) -> None:
        def save() -> bool:
            with self.service.database.write() as tx:
                return runs.save_step(tx, step)

        if not self._outlast(save):
            log.warning("attempt lost, nothing written", run_id=step.run_id, attempt=step.attempt)
            raise Conflict(f"run {step.run_id} has passed to another attempt", code="attempt_lost")

    def _names(
        self,
        run: Run,
        step: Step,
        *,
        template: Template,
        so_far: Mapping[str, Status],
        before: Mapping[str, StepRun],
    ) -> Mapping[str, Value]:
        """What `{name}` means in this step."""
        with self.service.database.read() as tx:
            tenant = tenants.get(tx, run.tenant_id)
        known = built_ins(
            self.service, tenant, template, run_date=run.run_date, trigger_by=run.trigger_by
        )
        status, cause = _verdict(template, so_far, before.values())
        late = late_names(
            self.service, run, step, status=status, error=cause.detail if cause else ""
        )
        return binding.step_names(step.variables, {**known, **run.parameters, **late})


def _check_attempts(run: Run, before: Iterable[StepRun]) -> None:
    """Raise StepFailed for a run that comes no further. A step that ended begins the count anew:
    many restarts end no run that goes on between them.
    """
    last = max((step.attempt for step in before if step.status in ENDED), default=0)
    if run.attempt - last > MAX_ATTEMPTS:
        raise StepFailed(
            f"given up: {MAX_ATTEMPTS} attempts were cut off before a step came to its end",
            code="too_many_attempts",
            hint="see the log for what ended the process; then run it again",
        )


def _verdict(
    template: Template, outcomes: Mapping[str, Status], records: Iterable[StepRun]
) -> tuple[Status, CdpError | None]:
    """How the run ended, or stands, and why. A step that may fail cannot excuse a run out of time.

    While the run goes on, the reason is that of a step that has failed so far.
    """
    records = list(records)
    late = next((step for step in records if step.error_code == RUN_TIMEOUT), None)
    status = graph.outcome(template.steps, outcomes, is_overdue=late is not None)
    if status is Status.COMPLETED:
        return status, None
    if late is not None and status is Status.FAILED:
        return status, StepFailed(f"{late.step_id}: {late.error}", code=RUN_TIMEOUT)
    return status, _cause(template, records)


def _cause(template: Template, records: Iterable[StepRun]) -> CdpError | None:
    """What ended the run so far, as an error that names the step."""
    first = graph.cause(template.steps, records)
    if first is None:
        return None
    return StepFailed(f"{first.step_id}: {first.error}", code=first.error_code or "step_failed")
