"""Execute a run: claim it, walk its steps, finish it. Every write carries the run's attempt.

The walk is a generic interpreter over the template that was stored with the run, so that editing
a file never changes a run under way. `work.py` gives each act a thread; a command that owns the
home walks them by itself.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

from convergence.engine import alert, record
from convergence.engine.attempt import RUN_TIMEOUT
from convergence.engine.attempt import attempt as try_step
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
from convergence.store import loads, runs, schedules, tenants, usage
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
    """Executes runs for one process. `tokens` has the runs under way here, and ends their work."""

    service: Service
    worker: str
    tokens: dict[str, CancelToken] = field(default_factory=dict)
    _broken_off: threading.Event = field(default_factory=threading.Event)
    _templates: dict[tuple[str, str], Template] = field(default_factory=dict)

    def walk(self, tenant_id: str, run_id: str) -> None:
        """Execute a run from its claim to its end, in this thread."""
        with self.under_way(run_id):
            claim = self.begin(tenant_id, run_id)
            if claim is None:
                return
            outcomes = dict(claim.outcomes)
            while batch := self.next_steps(claim.steps, outcomes):
                for step in batch:
                    outcomes[step.step_id] = self.run_step(
                        tenant_id, run_id, step.step_id, attempt=claim.attempt, so_far=outcomes
                    )
            self.finish(tenant_id, run_id, attempt=claim.attempt, outcomes=outcomes)

    @contextmanager
    def under_way(self, run_id: str) -> Iterator[None]:
        """While inside, the run has a token here: nobody takes it for lost."""
        self.tokens[run_id] = CancelToken()
        try:
            yield
        finally:
            self.tokens.pop(run_id, None)

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
            _check_attempts(run)
            steps = self._template(run).steps
        except CdpError as error:
            log.exception("run given up", tenant_id=tenant_id, run_id=run_id)
            cut_off = [
                record.failed(replace(step, attempt=run.attempt), error, now=now)
                for step in before
                if step.status not in ENDED
            ]
            self._close(run, Status.FAILED, error, last_steps=cut_off)
            return None
        outcomes = {step.step_id: step.status for step in before if step.status in ENDED}
        return Claim(attempt=run.attempt, steps=steps, outcomes=outcomes)

    def next_steps(self, steps: Sequence[Step], outcomes: Mapping[str, Status]) -> Sequence[Step]:
        """Those that may start now: ordinary ones side by side, then the terminal ones in order."""
        if ready := graph.ready(steps, outcomes):
            return ready
        terminal = graph.terminal(steps, graph.outcome(steps, outcomes))
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
        if ended.status is Status.FAILED and step.on_failure is OnFailure.ALERT:
            alert.step_failed(self.service, run, ended)
        return ended.status

    def finish(
        self, tenant_id: str, run_id: str, *, attempt: int, outcomes: Mapping[str, Status]
    ) -> None:
        """Record the steps that never ran as SKIPPED, and the run's end."""
        run, records = self._records(tenant_id, run_id, attempt=attempt)
        template = self._template(run)
        status = graph.outcome(template.steps, outcomes)
        now = self.service.clock.now()
        skipped = [
            record.skipped(record.started(run, step, template=template, attempt=attempt, now=now))
            for step in template.steps
            if step.step_id not in outcomes
        ]
        error = _timed_out(records)
        if status is not Status.COMPLETED:
            error = _cause(template, records)
        elif error is not None:
            status = Status.FAILED
        self._close(run, status, error, last_steps=skipped)

    def _records(self, tenant_id: str, run_id: str, *, attempt: int) -> tuple[Run, list[StepRun]]:
        """The run as this attempt writes it, and its steps so far."""

        def read() -> tuple[Run, list[StepRun]]:
            with self.service.database.read() as tx:
                run = replace(runs.get(tx, tenant_id, run_id), attempt=attempt)
                return run, runs.steps(tx, tenant_id, run_id)

        return self._outlast(read)

    def _outlast(self, act: Callable[[], T]) -> T:
        return outlast(act, until=self._broken_off)

    def _template(self, run: Run) -> Template:
        """The template as it was when the run was admitted. Raises Invalid."""
        known = (run.template, run.template_hash)
        if known not in self._templates:
            models = step_models(self.service.step_types)
            self._templates[known] = from_snapshot(run.template, run.snapshot, models)
        return self._templates[known]

    def _close(
        self, run: Run, status: Status, error: CdpError | None, *, last_steps: Sequence[StepRun]
    ) -> None:
        """The end of a run and all that follows from it, in one transaction."""
        now = self.service.clock.now()

        def close() -> Run | None:
            with self.service.database.write() as tx:
                for step in last_steps:
                    runs.save_step(tx, step)
                ended = runs.finish(
                    tx,
                    run.tenant_id,
                    run.run_id,
                    attempt=run.attempt,
                    status=status,
                    now=now,
                    error_code=error.code if error else None,
                    error=error.detail if error else None,
                )
                if ended is not None:
                    schedules.note_end(tx, ended, status)
                    usage.record_finish(tx, run.tenant_id, run.created_at.date(), status, now=now)
                    loads.release_all(tx, run.tenant_id, run.run_id)
                return ended

        ended = self._outlast(close)
        if ended is None:
            return
        self.service.metrics.run_finished(
            ended.tenant_id,
            ended.pipeline_id,
            status=str(status),
            seconds=(ended.duration_ms or 0) / 1000,
        )

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
                token.trip(Cancelled("the run was cancelled"))
        elif token.reason is not None and token.reason.code != STOPPING:
            token = self.tokens[run.run_id] = CancelToken()
        return token

    def _save(self, step: StepRun) -> None:
        def save() -> bool:
            with self.service.database.write() as tx:
                return runs.save_step(tx, step)

        if not self._outlast(save):
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
        cause = _cause(template, before.values())
        late = late_names(
            self.service,
            run,
            step,
            status=graph.outcome(template.steps, so_far),
            error=cause.detail if cause else "",
        )
        return binding.step_names(step.variables, {**known, **run.parameters, **late})


def _check_attempts(run: Run) -> None:
    if run.attempt > MAX_ATTEMPTS:
        raise StepFailed(
            f"given up: {MAX_ATTEMPTS} attempts were cut off before they came to an end",
            code="too_many_attempts",
            hint="see the log for what ended the process; then run it again",
        )


def _timed_out(records: Iterable[StepRun]) -> CdpError | None:
    """That the run's time was over: a step that may fail cannot excuse it."""
    late = next((step for step in records if step.error_code == RUN_TIMEOUT), None)
    return StepFailed(f"{late.step_id}: {late.error}", code=RUN_TIMEOUT) if late else None


def _cause(template: Template, records: Iterable[StepRun]) -> CdpError | None:
    """What ended the run so far, as an error that names the step."""
    first = graph.cause(template.steps, records)
    if first is None:
        return None
    return StepFailed(f"{first.step_id}: {first.error}", code=first.error_code or "step_failed")
