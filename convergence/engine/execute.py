"""Execute a run: claim it, walk its steps, finish it. Every write carries the run's attempt.

The walk is a generic interpreter over the template that was stored with the run, so that editing
a file never changes a run under way. `work.py` makes each act a durable step; a command that owns
the home walks them by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from convergence.engine import alert
from convergence.engine.attempt import attempt as try_step
from convergence.engine.names import built_ins, late_names
from convergence.engine.service import Service
from convergence.errors import Cancelled, CdpError, Conflict, StepFailed
from convergence.library import from_snapshot
from convergence.model import binding, graph
from convergence.model.cancel import CancelToken
from convergence.model.run import Run, Status, StepRun
from convergence.model.template import OnFailure, Step, Template
from convergence.outside import logs
from convergence.outside.logs import Log
from convergence.steps.base import step_models
from convergence.store import runs, tenants, usage
from convergence.warehouse.base import Value

MAX_ATTEMPTS = 5
STOPPING = "stopping"
"""Work broken off because the process ends: no outcome, the next start goes on."""

log = Log(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A claimed run: the attempt its writes carry, its steps, and those finished before."""

    attempt: int
    steps: tuple[Step, ...]
    outcomes: Mapping[str, Status]


@dataclass(kw_only=True)
class Executor:
    """Executes runs for one process. `tokens` end the work of the runs under way here."""

    service: Service
    worker: str
    tokens: dict[str, CancelToken] = field(default_factory=dict)

    def walk(self, tenant_id: str, run_id: str) -> None:
        """Execute a run from its claim to its end, in this thread."""
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

    def begin(self, tenant_id: str, run_id: str) -> Claim | None:
        """Claim the run. None when it is over, or given up because each worker of it died."""
        now = self.service.clock.now()
        with self.service.database.write() as tx:
            run = runs.claim(tx, tenant_id, run_id, worker=self.worker, now=now)
            if run is None:
                return None
            before = runs.steps(tx, tenant_id, run_id)
        if run.attempt > MAX_ATTEMPTS:
            reason = f"given up: {MAX_ATTEMPTS} workers have died over it"
            self._close(run, Status.FAILED, StepFailed(reason, code="too_many_attempts"))
            return None
        self.tokens[run_id] = CancelToken()
        return Claim(
            attempt=run.attempt,
            steps=self._template(run).steps,
            outcomes={s.step_id: s.status for s in before if s.status is Status.COMPLETED},
        )

    def steps(self, tenant_id: str, run_id: str) -> tuple[Step, ...]:
        """The steps of the template as it was when the run was admitted."""
        with self.service.database.read() as tx:
            return self._template(runs.get(tx, tenant_id, run_id)).steps

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

        Raises Conflict when the run has passed to a newer attempt; that one's word counts.
        """
        with self.service.database.read() as tx:
            run = runs.get(tx, tenant_id, run_id)
            before = {step.step_id: step for step in runs.steps(tx, tenant_id, run_id)}
        if step_id in before and before[step_id].status is Status.COMPLETED:
            return Status.COMPLETED
        template = self._template(run)
        step = next(step for step in template.steps if step.step_id == step_id)
        record = self._started(run, template, step, attempt=attempt)
        self._save(record)
        names = self._names(run, step, so_far=so_far, before=before)
        with logs.bind(tenant_id=tenant_id, run_id=run_id, step_id=step_id):
            ended = self._ended(record, run, step, template=template, names=names)
        self._save(ended)
        if ended.status is Status.FAILED and step.on_failure is OnFailure.ALERT:
            alert.step_failed(self.service, run, ended)
        return ended.status

    def finish(
        self, tenant_id: str, run_id: str, *, attempt: int, outcomes: Mapping[str, Status]
    ) -> None:
        """Record the steps that never ran as SKIPPED, and the run's end."""
        with self.service.database.read() as tx:
            run = runs.get(tx, tenant_id, run_id)
            records = runs.steps(tx, tenant_id, run_id)
        template = self._template(run)
        for step in template.steps:
            if step.step_id not in outcomes:
                skipped = self._started(run, template, step, attempt=attempt)
                self._save(replace(skipped, status=Status.SKIPPED, ended_at=skipped.started_at))
        status = graph.outcome(template.steps, outcomes)
        self._close(replace(run, attempt=attempt), status, _first_error(records))

    def _template(self, run: Run) -> Template:
        """The template as it was when the run was admitted."""
        models = step_models(self.service.step_types)
        return from_snapshot(run.template, run.snapshot, models)

    def _close(self, run: Run, status: Status, error: CdpError | None) -> None:
        """The end of a run and its effect on the day's usage, in one transaction."""
        now = self.service.clock.now()
        with self.service.database.write() as tx:
            ended = runs.finish(
                tx,
                run.tenant_id,
                run.run_id,
                attempt=run.attempt,
                status=status,
                now=now,
                error_code=error.code if error and status is not Status.COMPLETED else None,
                error=error.detail if error and status is not Status.COMPLETED else None,
            )
            if ended is not None:
                usage.record_finish(tx, run.tenant_id, run.created_at.date(), status, now=now)
        self.tokens.pop(run.run_id, None)
        if ended is not None:
            self.service.metrics.run_finished(
                ended.tenant_id,
                ended.pipeline_id,
                status=str(status),
                seconds=(ended.duration_ms or 0) / 1000,
            )

    def _started(self, run: Run, template: Template, step: Step, *, attempt: int) -> StepRun:
        return StepRun(
            run_id=run.run_id,
            tenant_id=run.tenant_id,
            step_id=step.step_id,
            name=step.name,
            ps_type=step.ps_type,
            index=template.steps.index(step),
            status=Status.RUNNING,
            attempt=attempt,
            started_at=self.service.clock.now(),
        )

    def _ended(
        self,
        record: StepRun,
        run: Run,
        step: Step,
        *,
        template: Template,
        names: Mapping[str, Value],
    ) -> StepRun:
        """The step's record after the work: COMPLETED, FAILED or CANCELLED, with the reason."""
        token = self.tokens.setdefault(run.run_id, CancelToken())
        try:
            token.check()
            report = try_step(self.service, run, step, template=template, names=names, token=token)
        except Cancelled as reason:
            if reason.code == STOPPING:
                raise
            is_cancel = reason.code == Cancelled.default_code
            return self._failed(record, reason, Status.CANCELLED if is_cancel else Status.FAILED)
        except CdpError as error:
            log.exception("step failed", code=error.code, error=error.detail)
            return self._failed(record, error)
        except Exception as error:
            log.exception("step broke")
            detail = f"{type(error).__name__}: {error}"
            return self._failed(record, StepFailed(detail, code="internal_error"))
        return replace(
            record,
            status=Status.COMPLETED,
            ended_at=self.service.clock.now(),
            rows=report.rows,
            report=report.facts,
        )

    def _failed(self, record: StepRun, error: CdpError, status: Status = Status.FAILED) -> StepRun:
        return replace(
            record,
            status=status,
            ended_at=self.service.clock.now(),
            error_code=error.code,
            error=f"{error.detail} (try: {error.hint})" if error.hint else error.detail,
        )

    def _save(self, record: StepRun) -> None:
        with self.service.database.write() as tx:
            if not runs.save_step(tx, record):
                raise Conflict(
                    f"run {record.run_id} has passed to another attempt", code="attempt_lost"
                )

    def _names(
        self,
        run: Run,
        step: Step,
        *,
        so_far: Mapping[str, Status],
        before: Mapping[str, StepRun],
    ) -> Mapping[str, Value]:
        """What `{name}` means in this step."""
        template = self._template(run)
        with self.service.database.read() as tx:
            tenant = tenants.get(tx, run.tenant_id)
        known = built_ins(
            self.service, tenant, template, run_date=run.run_date, trigger_by=run.trigger_by
        )
        error = _first_error(list(before.values()))
        late = late_names(
            self.service,
            run,
            step,
            status=graph.outcome(template.steps, so_far),
            error=error.detail if error else "",
        )
        return binding.step_names(step.variables, {**known, **run.parameters, **late})


def _first_error(records: list[StepRun]) -> CdpError | None:
    failed = [step for step in records if step.status in {Status.FAILED, Status.CANCELLED}]
    if not failed:
        return None
    first = min(failed, key=lambda step: step.index)
    return StepFailed(f"{first.step_id}: {first.error}", code=first.error_code or "step_failed")
