"""Retry a run that is over: a new run of the same work, with the old snapshot."""

from dataclasses import dataclass, replace
from uuid import uuid4

from convergence.engine.launch import Launched, admit_run, check_may_run
from convergence.engine.service import Queue, Service
from convergence.errors import Conflict, QuotaExceeded
from convergence.library import from_snapshot
from convergence.model import binding
from convergence.model.run import RetryRequest, Run, Status, Trigger
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
    asked = ask_retry(service, request)
    with service.database.write() as tx:
        admitted = admit_retry(service, tx, asked)
    if isinstance(admitted, QuotaExceeded):
        raise admitted
    return admitted


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedRetry:
    """What `admit_retry` needs, found before its transaction: `kept` are the steps that need not be
    done again when they completed.
    """

    request: RetryRequest
    queue: Queue
    kept: frozenset[str]


def ask_retry(service: Service, request: RetryRequest) -> AskedRetry:
    """Raises Invalid and NotFound."""
    if request.trigger_by is not None:
        binding.check_trigger_by(request.trigger_by)
    with service.database.read() as tx:
        old = runs.get(tx, request.tenant_id, request.run_id)
    kept = frozenset() if request.is_whole else _ordinary(service, old)
    return AskedRetry(request=request, queue=service.queue, kept=kept)


def admit_retry(service: Service, tx: WriteTx, asked: AskedRetry) -> Launched | QuotaExceeded:
    """`retry` in the caller's transaction. A refusal is given back: that it was one is recorded."""
    request = asked.request
    terms = tenants.lock_for_terms(tx, request.tenant_id)
    check_may_run(terms, service.clock.now().date())
    old = runs.get(tx, request.tenant_id, request.run_id)
    _check_over(old, is_whole=request.is_whole)
    new = _again(service, old, request.trigger_by or old.trigger_by)
    steps = runs.steps(tx, old.tenant_id, old.run_id) if asked.kept else []
    finished = [
        replace(step, run_id=new.run_id, attempt=0)
        for step in steps
        if step.status is Status.COMPLETED and step.step_id in asked.kept
    ]
    return admit_run(tx, asked.queue, terms, new, finished=finished)


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


def _ordinary(service: Service, old: Run) -> frozenset[str]:
    """The ordinary steps. Those that tell of the run's end do so again."""
    template = from_snapshot(old.template, old.snapshot, step_models(service.step_types))
    ordinary = (step for step in template.steps if step.trigger is StepTrigger.ALWAYS)
    return frozenset(step.step_id for step in ordinary)
