"""Retry a run that is over: a new run of the same work, with the old snapshot."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

from convergence.engine.launch import Launched, admit_run, check_may_run
from convergence.engine.service import Queue, Service
from convergence.errors import Conflict, QuotaExceeded
from convergence.library import from_snapshot
from convergence.model import binding
from convergence.model.run import RetryRequest, Run, Status, StepRun, Trigger
from convergence.model.template import StepTrigger
from convergence.steps.base import step_models
from convergence.store import runs, tenants
from convergence.store.database import WriteTx


def retry(service: Service, request: RetryRequest) -> Launched:
    """Admit a run that does what is asked. It counts like any run; a live run of the same work is
    given instead.

    Raises Invalid, NotFound, Conflict (it is live, or has nothing left to do), Forbidden and
    QuotaExceeded.
    """
    queue = service.queue
    with service.database.write() as tx:
        admitted = admit_retry(service, tx, queue, request)
    if isinstance(admitted, QuotaExceeded):
        raise admitted
    return admitted


def admit_retry(
    service: Service, tx: WriteTx, queue: Queue, request: RetryRequest
) -> Launched | QuotaExceeded:
    """`retry` in the caller's transaction. A refusal is given back: that it was one is recorded."""
    if request.trigger_by is not None:
        binding.check_trigger_by(request.trigger_by)
    terms = tenants.lock_for_terms(tx, request.tenant_id)
    check_may_run(terms, service.clock.now().date())
    old = runs.get(tx, request.tenant_id, request.run_id)
    _check_over(old, is_whole=request.is_whole)
    new = _again(service, old, request.trigger_by or old.trigger_by)
    steps = [] if request.is_whole else runs.steps(tx, old.tenant_id, old.run_id)
    finished = _finished(service, old, steps) if steps else []
    copies = [replace(step, run_id=new.run_id, attempt=0) for step in finished]
    return admit_run(tx, queue, terms, new, finished=copies)


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
            hint=f'cdp runs retry {old.run_id} --whole; over HTTP with {{"from": "start"}}',
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
