"""Retry a run that is over: a new run of the same work, with the old snapshot."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

from convergence.engine.launch import Launched, admit_run, check_may_run
from convergence.engine.service import Service
from convergence.errors import Conflict, QuotaExceeded
from convergence.library import from_snapshot
from convergence.model import binding
from convergence.model.run import Run, Status, StepRun, Trigger
from convergence.model.template import StepTrigger
from convergence.steps.base import step_models
from convergence.store import runs, tenants


def retry(
    service: Service, tenant_id: str, run_id: str, *, is_whole: bool, trigger_by: str | None = None
) -> Launched:
    """Admit a run that does again what `run_id` did not finish; all of it when `is_whole`.

    It counts like any run. A live run of the same work is given instead. Raises NotFound,
    Conflict (it is live, or has nothing left to do), Forbidden and QuotaExceeded.
    """
    if trigger_by is not None:
        binding.check_trigger_by(trigger_by)
    queue = service.queue
    with service.database.write() as tx:
        terms = tenants.lock_for_terms(tx, tenant_id)
        check_may_run(terms, service.clock.now().date())
        old = runs.get(tx, tenant_id, run_id)
        _check_over(old, is_whole=is_whole)
        new = _again(service, old, trigger_by or old.trigger_by)
        finished = [] if is_whole else _finished(service, old, runs.steps(tx, tenant_id, run_id))
        copies = [replace(step, run_id=new.run_id, attempt=0) for step in finished]
        admitted = admit_run(tx, queue, terms, new, finished=copies)
    if isinstance(admitted, QuotaExceeded):
        raise admitted
    return admitted


def _check_over(old: Run, *, is_whole: bool) -> None:
    if old.is_live:
        raise Conflict(
            f"Run {old.run_id} is {old.status}: there is nothing to retry yet",
            code="run_live",
            hint="wait for its end, or cancel it",
        )
    if old.status is Status.COMPLETED and not is_whole:
        raise Conflict(
            f"Run {old.run_id} is {old.status}: no step of it failed",
            code="run_completed",
            hint="run all of it again: from `start` (--whole)",
        )


def _again(service: Service, old: Run, trigger_by: str) -> Run:
    return replace(
        old,
        run_id=str(uuid4()),
        status=Status.PENDING,
        trigger=Trigger.RETRY,
        trigger_by=trigger_by,
        created_at=service.clock.now(),
        started_at=None,
        ended_at=None,
        attempt=0,
        worker=None,
        error_code=None,
        error=None,
        cancel_requested=False,
        retry_of=old.run_id,
    )


def _finished(service: Service, old: Run, steps: Sequence[StepRun]) -> list[StepRun]:
    """The ordinary steps that completed. Those that tell of the run's end do so again."""
    template = from_snapshot(old.template, old.snapshot, step_models(service.step_types))
    ordinary = {step.step_id for step in template.steps if step.trigger is StepTrigger.ALWAYS}
    return [step for step in steps if step.status is Status.COMPLETED and step.step_id in ordinary]
