"""Tenants, their limits and their variables. For onboarding, admission and self-service."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from convergence.errors import Conflict, NotFound
from convergence.model.tenant import Limits, Tenant, TenantStatus, Terms
from convergence.store import rows
from convergence.store.database import ReadTx, WriteTx, insert_into
from convergence.store.fleet import mark_dirty
from convergence.store.tables import (
    tenant_profiles,
    tenant_subscriptions,
    tenant_usage_quotas,
    tenant_variables,
)

_OF_TENANT = sa.bindparam("of_tenant", type_=sa.String())
_GET = sa.select(tenant_profiles).where(tenant_profiles.c.tenant_id == _OF_TENANT)
_LOCK = _GET.with_for_update(key_share=True)
_LIMIT_COLUMNS = [tenant_subscriptions.c[name] for name in rows.LIMIT_NAMES]
_LIMITS = sa.select(*_LIMIT_COLUMNS).where(tenant_subscriptions.c.tenant_id == _OF_TENANT)
_LOCK_FOR_TERMS = (
    sa.select(
        tenant_profiles,
        *_LIMIT_COLUMNS,
        *rows.SUBSCRIPTION_COLUMNS,
        tenant_variables.c.name,
        tenant_variables.c.value,
    )
    .join_from(tenant_profiles, tenant_subscriptions)
    .outerjoin(tenant_variables, tenant_variables.c.tenant_id == tenant_profiles.c.tenant_id)
    .where(tenant_profiles.c.tenant_id == _OF_TENANT)
    .with_for_update(key_share=True, of=tenant_profiles)
)
_VARIABLES = (
    sa.select(tenant_variables.c.name, tenant_variables.c.value)
    .where(tenant_variables.c.tenant_id == _OF_TENANT)
    .order_by(tenant_variables.c.name)
)


def create(tx: WriteTx, tenant: Tenant, limits: Limits, *, now: datetime) -> None:
    """Write the profile and the subscription. Raises Conflict when the id or dataset is taken."""
    profile = insert_into(tenant_profiles, tx.dialect).values(
        tenant_id=tenant.tenant_id,
        company_name=tenant.company_name,
        admin_email=tenant.admin_email,
        tenant_dataset_id=tenant.dataset,
        status=tenant.status.value,
        subscription_plan=tenant.plan.value,
        created_at=tenant.created_at,
        warehouse=tenant.warehouse.value,
    )
    if not tx.write(profile.on_conflict_do_nothing()):
        raise Conflict(f"Tenant {tenant.tenant_id} already exists", code="tenant_exists")
    tx.write(
        insert_into(tenant_subscriptions, tx.dialect).values(
            subscription_id=tenant.subscription_id,
            tenant_id=tenant.tenant_id,
            plan_name=tenant.plan.value,
            **rows.limit_values(limits),
            created_at=now,
        )
    )
    mark_dirty(tx, tenant.tenant_id, None)


def get(tx: ReadTx, tenant_id: str) -> Tenant:
    """Raises NotFound."""
    return rows.tenant(_found(tx, _GET, tenant_id))


def lock(tx: WriteTx, tenant_id: str) -> Tenant:
    """From here to the end of the transaction no other one admits or finishes for this tenant.

    On SQLite the gate sees to that. The lock lets rows that refer to the tenant be written.
    Raises NotFound.
    """
    return rows.tenant(_found(tx, _LOCK, tenant_id))


def lock_for_terms(tx: WriteTx, tenant_id: str) -> Terms:
    """`lock`, and all that a run is admitted by, in one question. Raises NotFound."""
    found = tx.connection.execute(_LOCK_FOR_TERMS, {"of_tenant": tenant_id}).all()
    if not found:
        raise _absent(tenant_id)
    return Terms(
        tenant=rows.tenant(found[0]),
        limits=rows.limits(found[0]),
        subscription=rows.subscription(found[0]),
        variables={row.name: row.value for row in found if row.name is not None},
    )


def hold(tx: WriteTx, tenant_id: str) -> None:
    """`lock` without the tenant; costs nothing on SQLite."""
    if tx.dialect != "sqlite":
        lock(tx, tenant_id)


def update(
    tx: WriteTx,
    tenant_id: str,
    *,
    company_name: str | None = None,
    admin_email: str | None = None,
    status: TenantStatus | None = None,
    now: datetime,
) -> Tenant:
    """Change what is not None. Raises NotFound."""
    given = {"company_name": company_name, "admin_email": admin_email, "status": status}
    changes = {name: str(value) for name, value in given.items() if value is not None}
    change = sa.update(tenant_profiles).where(tenant_profiles.c.tenant_id == tenant_id)
    tx.write(change.values(**changes, updated_at=now))
    tenant = get(tx, tenant_id)
    mark_dirty(tx, tenant_id, None)
    return tenant


def limits(tx: ReadTx, tenant_id: str) -> Limits:
    """Raises NotFound."""
    return rows.limits(_found(tx, _LIMITS, tenant_id))


def set_limits(tx: WriteTx, tenant_id: str, limits: Limits, *, now: datetime) -> None:
    """Change the subscription, and the copy in today's usage row. Raises NotFound."""
    table, usage = tenant_subscriptions, tenant_usage_quotas
    hold(tx, tenant_id)
    change = sa.update(table).where(table.c.tenant_id == tenant_id)
    if not tx.write(change.values(**rows.limit_values(limits), updated_at=now)):
        raise _absent(tenant_id)
    today = sa.update(usage).where(usage.c.tenant_id == tenant_id, usage.c.usage_date == now.date())
    is_met = sa.or_(
        usage.c.pipelines_run_today >= limits.daily_limit,
        usage.c.pipelines_run_month >= limits.monthly_limit,
        usage.c.concurrent_pipelines_running >= limits.concurrent_limit,
    )
    tx.write(
        today.values(
            quota_exceeded=sa.and_(usage.c.quota_exceeded, is_met),
            daily_limit=limits.daily_limit,
            monthly_limit=limits.monthly_limit,
            concurrent_limit=limits.concurrent_limit,
            last_updated=now,
        )
    )
    mark_dirty(tx, tenant_id, None)


def variables(tx: ReadTx, tenant_id: str) -> dict[str, str]:
    """The tenant's own values of template variables, by name."""
    found = tx.connection.execute(_VARIABLES, {"of_tenant": tenant_id})
    return {row.name: row.value for row in found}


def set_variable(tx: WriteTx, tenant_id: str, name: str, value: str, *, now: datetime) -> None:
    statement = insert_into(tenant_variables, tx.dialect).values(
        tenant_id=tenant_id, name=name, value=value, updated_at=now
    )
    tx.write(
        statement.on_conflict_do_update(
            index_elements=["tenant_id", "name"], set_={"value": value, "updated_at": now}
        )
    )


def delete_variable(tx: WriteTx, tenant_id: str, name: str) -> None:
    """Raises NotFound."""
    table = tenant_variables
    change = sa.delete(table).where(table.c.tenant_id == tenant_id, table.c.name == name)
    if not tx.write(change):
        raise NotFound(
            f"Tenant {tenant_id} has no variable {name}",
            code="variable_not_found",
            hint="the tenant's variables are listed by the same route",
        )


def _found(tx: ReadTx, query: sa.Select[Any], tenant_id: str) -> rows.Row:
    row = tx.connection.execute(query, {"of_tenant": tenant_id}).one_or_none()
    if row is None:
        raise _absent(tenant_id)
    return row


def _absent(tenant_id: str) -> NotFound:
    return NotFound(f"Tenant not found: {tenant_id}", code="tenant_not_found")
