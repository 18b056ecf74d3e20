"""Admit a run: its template, names and quota are checked; it is stored and enqueued at once."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

from convergence.engine import alert
from convergence.engine.names import built_ins
from convergence.engine.service import Queue, Service
from convergence.errors import Forbidden, Invalid, QuotaExceeded
from convergence.model import binding, quota
from convergence.model.quota import Use
from convergence.model.run import LaunchRequest, Run, Status
from convergence.model.source import GCP_KINDS, GrantedSource, Kind
from convergence.model.template import SourceFamily, Template
from convergence.model.tenant import Limits, Tenant, TenantStatus
from convergence.store import runs, sources, tenants, usage
from convergence.store.database import WriteTx


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """The run that was asked for. `is_new` is False when a live one was there already."""

    run: Run
    is_new: bool


def launch(service: Service, request: LaunchRequest) -> Launched:
    """Admit one run, or give the live one of the same pipeline, date and parameters.

    Raises NotFound (template, tenant), Invalid (names, date), Forbidden (suspended tenant) and
    QuotaExceeded. When it returns, the run is stored and will end in a status with a reason.
    """
    run, queue = _prepare(service, request), service.queue
    with service.database.write() as tx:
        tenant, limits = tenants.lock_with_limits(tx, request.tenant_id)
        _check_active(tenant)
        live = runs.live(
            tx,
            tenant.tenant_id,
            pipeline_id=run.pipeline_id,
            run_date=run.run_date,
            parameter_hash=run.parameter_hash,
        )
        if live is not None:
            return Launched(run=live, is_new=False)
        before = usage.use(tx, run.tenant_id, run.created_at.date())
        refusal = _refuse(tx, run, limits, before)
        warns = refusal is None and _admit(tx, run, queue, limits=limits, before=before)
    if refusal is not None:
        raise refusal
    if warns:
        alert.quota_nearly_used(service, tenant, limits, used=before.today + 1)
    return Launched(run=run, is_new=True)


def _refuse(tx: WriteTx, run: Run, limits: Limits, before: Use) -> QuotaExceeded | None:
    """Why the run may not be admitted. That it was refused is recorded, and must be committed."""
    try:
        quota.check_quota(limits, before)
    except QuotaExceeded as refusal:
        usage.record_refusal(tx, run.tenant_id, before.day, now=run.created_at)
        return refusal
    return None


def _admit(tx: WriteTx, run: Run, queue: Queue, *, limits: Limits, before: Use) -> bool:
    """Insert, count and enqueue. True for the one admission of the day that has to warn."""
    now = run.created_at
    runs.insert(tx, run)
    usage.record_admission(tx, run.tenant_id, before, limits, now=now)
    queue.enqueue(tx, run.tenant_id, run.run_id)
    is_due = quota.warning_due(limits, before.today + 1)
    return is_due and usage.claim_warning(tx, run.tenant_id, before.day, now=now)


def _prepare(service: Service, request: LaunchRequest) -> Run:
    """Everything that needs no lock: the template, the names and the deadline."""
    now = service.clock.now()
    binding.check_trigger_by(request.trigger_by)
    template = service.library.get(request.template)
    with service.database.read() as tx:
        tenant = tenants.get(tx, request.tenant_id)
        stored = tenants.variables(tx, request.tenant_id)
        granted = sources.granted(tx, request.tenant_id)
    stored = {name: value for name, value in stored.items() if name in template.variables}
    unset = template.variables.keys() - stored.keys() - request.variables.keys()
    run_date = request.run_date or (now.date() - timedelta(days=1))
    bound = binding.bind(
        template,
        tenant_values=stored | _only_sources(service, template, unset, granted),
        request_values=request.variables,
        builtins=built_ins(
            service, tenant, template, run_date=run_date, trigger_by=request.trigger_by
        ),
    )
    return Run(
        run_id=str(uuid4()),
        tenant_id=tenant.tenant_id,
        template=template.ref,
        pipeline_id=bound.pipeline_id,
        run_date=run_date,
        status=Status.PENDING,
        trigger=request.trigger,
        trigger_by=request.trigger_by,
        parameters=bound.parameters,
        parameter_hash=bound.parameter_hash,
        snapshot=template.raw,
        template_hash=template.digest,
        created_at=now,
        allow_shrink=request.allow_shrink,
        is_sample=any(step.settings.get("limit") is not None for step in template.steps),
    )


def _only_sources(
    service: Service, template: Template, unset: Set[str], granted: Sequence[GrantedSource]
) -> dict[str, str]:
    """A source variable that nothing sets is the tenant's only source of its family."""
    found = {}
    for variable in template.variables.values():
        family = variable.source
        if family is None or variable.default is not None or variable.name not in unset:
            continue
        fitting = [source.table for source in granted if _fits(service, source, family)]
        if len(fitting) != 1:
            raise _source_problem(variable.name, family, sorted(fitting))
        found[variable.name] = fitting[0]
    return found


def _source_problem(name: str, family: SourceFamily, fitting: Sequence[str]) -> Invalid:
    if not fitting:
        return Invalid(
            f"{name}: no source of kind {family} is granted to this tenant",
            code="source_not_found",
            hint="the operator adds one: cdp sources add PROJECT.DATASET.TABLE --files GLOB",
        )
    return Invalid(
        f"{name}: several sources of kind {family} fit: {', '.join(fitting)}",
        code="source_ambiguous",
        hint=f"name one of them as the variable {name}, for example {fitting[0]}",
    )


def _fits(service: Service, source: GrantedSource, family: SourceFamily) -> bool:
    if source.kind is Kind.AUTO:
        source = service.warehouse.source_kind(source)
    wanted = GCP_KINDS if family is SourceFamily.GCP else {Kind.FOCUS}
    return source.kind in wanted


def _check_active(tenant: Tenant) -> None:
    if tenant.status is not TenantStatus.ACTIVE:
        raise Forbidden(
            f"Tenant {tenant.tenant_id} is {tenant.status}",
            code="tenant_not_active",
            hint="the operator can make it active again",
        )
