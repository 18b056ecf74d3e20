"""What a tenant has subscribed to, beside its limits: plan, state and dates."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from convergence.errors import NotFound
from convergence.model.subscription import Subscription
from convergence.model.tenant import Plan
from convergence.store import rows
from convergence.store.database import ReadTx, WriteTx
from convergence.store.fleet import mark_dirty
from convergence.store.tables import tenant_profiles, tenant_subscriptions

_OF_TENANT = sa.bindparam("of_tenant", type_=sa.String())
_GET: sa.Select[Any] = sa.select(*rows.SUBSCRIPTION_COLUMNS).where(
    tenant_subscriptions.c.tenant_id == _OF_TENANT
)


def get(tx: ReadTx, tenant_id: str) -> Subscription:
    """Raises NotFound."""
    row = tx.connection.execute(_GET, {"of_tenant": tenant_id}).one_or_none()
    if row is None:
        raise NotFound(f"Tenant not found: {tenant_id}", code="tenant_not_found")
    return rows.subscription(row)


def put(tx: WriteTx, tenant_id: str, subscription: Subscription, *, now: datetime) -> None:
    """Replace state and dates."""
    table = tenant_subscriptions
    change = sa.update(table).where(table.c.tenant_id == tenant_id)
    tx.write(
        change.values(
            status=subscription.status.value,
            trial_end_date=subscription.trial_end_date,
            subscription_end_date=subscription.subscription_end_date,
            updated_at=now,
        )
    )
    mark_dirty(tx, tenant_id, None)


def set_plan(tx: WriteTx, tenant_id: str, plan: Plan, *, now: datetime) -> None:
    """The plan's name alone; its limits are set by `tenants.set_limits`."""
    profiles, table = tenant_profiles, tenant_subscriptions
    tx.write(
        sa.update(profiles)
        .where(profiles.c.tenant_id == tenant_id)
        .values(subscription_plan=plan.value, updated_at=now)
    )
    tx.write(
        sa.update(table)
        .where(table.c.tenant_id == tenant_id)
        .values(plan_name=plan.value, updated_at=now)
    )
    mark_dirty(tx, tenant_id, None)
