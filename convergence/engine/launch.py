"""Admit a run: its template, names and quota are checked; it is stored and enqueued at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TypeVar

from convergence.engine import alert
from convergence.engine.agree import check_warehouse, holds_files
from convergence.engine.bind import UnseenError, bind_run
from convergence.engine.service import Queue, Service
from convergence.errors import Conflict, Forbidden, QuotaExceeded
from convergence.model import binding, quota
from convergence.model.quota import Use
from convergence.model.run import LaunchRequest, Run, StepRun
from convergence.model.source import GrantedSource, Kind
from convergence.model.subscription import check_subscription
from convergence.model.template import Template
from convergence.model.tenant import Limits, TenantStatus, Terms
from convergence.store import runs, tenants, usage
from convergence.store.database import ReadTx, WriteTx

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """The run that was asked for. `is_new` is False when a live one was there already."""

    run: Run
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request with what was found for it before the transaction."""

    request: LaunchRequest
    template: Template
    queue: Queue


def launch(service: Service, request: LaunchRequest) -> Launched:
    """Admit one run, or give the live one of the same pipeline, date and parameters.

    Raises NotFound (template, tenant), Invalid (names, date), Forbidden (suspended tenant) and
    QuotaExceeded. When it returns, the run is stored and will end in a status with a reason.
    """
    asked = ask(service, request)
    return with_kinds(service, lambda kinds: _launch(service, asked, kinds))


def ask(service: Service, request: LaunchRequest) -> Asked:
    """What `admit` needs besides the store. Raises NotFound and Invalid (the template)."""
    binding.check_trigger_by(request.trigger_by)
    template = service.library.get(request.template)
    return Asked(request=request, template=template, queue=service.queue)


def with_kinds(service: Service, act: Callable[[Mapping[str, Kind]], T]) -> T:
    """What `act` gives, once it is told the kinds of the sources that it asks for."""
    kinds: dict[str, Kind] = {}
    while True:
        try:
            return act(kinds)
        except UnseenError as unseen:
            # Outside the transaction, so that nobody waits for the disk that the files are on.
            kinds[unseen.source.table] = _look(service, unseen.source)


def _look(service: Service, source: GrantedSource) -> Kind:
    """The kind that the source's files tell; AUTO, which fits all, where they are elsewhere."""
    if not holds_files(service):
        return Kind.AUTO
    return service.warehouse.source_kind(source).kind


def admit(
    service: Service, tx: WriteTx, asked: Asked, kinds: Mapping[str, Kind]
) -> Launched | QuotaExceeded:
    """Admit in the caller's transaction. A refusal is given back: that it was one is recorded.

    Raises as `launch` does, and UnseenError; then nothing is written.
    """
    terms = tenants.lock_for_terms(tx, asked.request.tenant_id)
    check_may_run(terms, service.clock.now().date())
    check_warehouse(service, terms.tenant)
    run = bind_run(service, tx, terms, request=asked.request, template=asked.template, kinds=kinds)
    return admit_run(tx, asked.queue, terms, run)


def admit_run(
    tx: WriteTx, queue: Queue, terms: Terms, run: Run, *, finished: Sequence[StepRun] = ()
) -> Launched | QuotaExceeded:
    """Admit a bound run of the locked tenant, with those of its steps that need not run any more.

    The live run of the same work is given instead. A refusal is given back, as by `admit`.
    """
    before = usage.use(tx, run.tenant_id, run.created_at.date())
    refusal = _insert(tx, run, terms.limits, before)
    # Asked only now: most runs are new, and writers wait in line.
    if refusal is not None and (live := _live(tx, run)) is not None:
        return Launched(run=live, is_new=False)
    if isinstance(refusal, QuotaExceeded):
        # That it was refused is recorded, and must be committed.
        usage.record_refusal(tx, run.tenant_id, before.day, now=run.created_at)
        return refusal
    if refusal is not None:
        raise refusal
    for step in finished:
        runs.save_step(tx, step)
    if _admit(tx, run, queue, limits=terms.limits, before=before):
        used = before.today + 1
        alert.quota_nearly_used(tx, terms.tenant, terms.limits, used=used, now=run.created_at)
    return Launched(run=run, is_new=True)


def _launch(service: Service, asked: Asked, kinds: Mapping[str, Kind]) -> Launched:
    """All in one transaction, the reading too: callers that take turns as a whole, and not at each
    statement, are admitted twice as fast.
    """
    with service.database.write() as tx:
        admitted = admit(service, tx, asked, kinds)
    if isinstance(admitted, QuotaExceeded):
        raise admitted
    return admitted


def _insert(tx: WriteTx, run: Run, limits: Limits, before: Use) -> QuotaExceeded | Conflict | None:
    """Insert the run, or say why it may not be."""
    try:
        quota.check_quota(limits, before)
        runs.insert(tx, run)
    except (QuotaExceeded, Conflict) as refusal:
        return refusal
    return None


def _live(tx: ReadTx, run: Run) -> Run | None:
    return runs.live(
        tx,
        run.tenant_id,
        pipeline_id=run.pipeline_id,
        run_date=run.run_date,
        parameter_hash=run.parameter_hash,
    )


def _admit(tx: WriteTx, run: Run, queue: Queue, *, limits: Limits, before: Use) -> bool:
    """Count and enqueue an inserted run. True for the one of the day that has to warn."""
    now = run.created_at
    usage.record_admission(tx, run.tenant_id, before, limits, now=now)
    queue.enqueue(tx, run)
    is_due = quota.warning_due(limits, before.today + 1)
    return is_due and usage.claim_warning(tx, run.tenant_id, before.day, now=now)


def check_may_run(terms: Terms, today: date) -> None:
    """Raise Forbidden for a suspended tenant, and for a subscription that is over."""
    if terms.tenant.status is not TenantStatus.ACTIVE:
        raise Forbidden(
            f"Tenant {terms.tenant.tenant_id} is {terms.tenant.status}",
            code="tenant_not_active",
            hint=f"the operator can let it in again: cdp tenants resume {terms.tenant.tenant_id}",
        )
    check_subscription(terms.subscription, today)
