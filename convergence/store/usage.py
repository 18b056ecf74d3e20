"""What a tenant used on one UTC day. Written only by admission, finish and the two meters.

Live runs are always counted, never added up, and a month is the sum of its days: nothing can
drift. On PostgreSQL `use`, `record_admission` and `record_finish` are right only under
`tenants.lock`; what else writes here takes it, so that no two writers wait for one another.
"""

from collections.abc import Collection
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import sqlalchemy as sa

from convergence.model.quota import Use
from convergence.model.run import Status
from convergence.model.tenant import Limits
from convergence.model.usage import UsageRow
from convergence.store import tenants
from convergence.store.column_types import kept
from convergence.store.database import ReadTx, WriteTx, insert_into
from convergence.store.fleet import mark_dirty
from convergence.store.tables import IS_LIVE, pipeline_runs, tenant_usage_quotas

_USAGE = tenant_usage_quotas.c
_OUTCOMES = {
    Status.COMPLETED: _USAGE.pipelines_succeeded_today,
    Status.FAILED: _USAGE.pipelines_failed_today,
    Status.CANCELLED: _USAGE.pipelines_cancelled_today,
}

_OF_TENANT = sa.bindparam("of_tenant", type_=sa.String())
_LIVE = (
    sa.select(sa.func.count())
    .where(IS_LIVE, pipeline_runs.c.tenant_id == _OF_TENANT)
    .scalar_subquery()
)
_ROW = sa.select(tenant_usage_quotas).where(
    _USAGE.tenant_id == _OF_TENANT, _USAGE.usage_date == sa.bindparam("day")
)
_DAYS = sa.select(tenant_usage_quotas).where(
    _USAGE.tenant_id == _OF_TENANT, _USAGE.usage_date.in_(sa.bindparam("days", expanding=True))
)
_USE = sa.select(
    sa.func.sum(_USAGE.pipelines_run_today).filter(_USAGE.usage_date == sa.bindparam("day")),
    sa.func.sum(_USAGE.pipelines_run_today),
    _LIVE,
).where(
    _USAGE.tenant_id == _OF_TENANT,
    _USAGE.usage_date.between(sa.bindparam("first"), sa.bindparam("last")),
)
_HELD = _USAGE.concurrent_pipelines_running
_RECOUNT = (
    sa.update(tenant_usage_quotas)
    .where(_USAGE.tenant_id == _OF_TENANT, sa.literal_column("0") < _HELD, _HELD > _LIVE)
    .values(concurrent_pipelines_running=_LIVE)
)


def use(tx: ReadTx, tenant_id: str, day: date) -> Use:
    """What counts against the limits at this moment."""
    values = {"of_tenant": tenant_id, "day": day, **_month(day)}
    counts = tx.connection.execute(_USE, values).one()
    return Use(day=day, today=int(counts[0] or 0), month=int(counts[1] or 0), live=counts[2])


def row(tx: ReadTx, tenant_id: str, day: date) -> UsageRow | None:
    found = tx.connection.execute(_ROW, {"of_tenant": tenant_id, "day": day}).one_or_none()
    return UsageRow(**found._mapping) if found else None


def some_days(tx: ReadTx, tenant_id: str, days: Collection[date]) -> list[UsageRow]:
    """The rows of those of these days that have one."""
    found = tx.connection.execute(_DAYS, {"of_tenant": tenant_id, "days": days})
    return [UsageRow(**each._mapping) for each in found]


def ensure_day(tx: WriteTx, tenant_id: str, day: date, limits: Limits, *, now: datetime) -> None:
    """The day has a row afterwards; one that is there stays as it is."""
    if row(tx, tenant_id, day) is not None:
        return
    used = use(tx, tenant_id, day)
    insert = insert_into(tenant_usage_quotas, tx.dialect).on_conflict_do_nothing()
    if tx.write(insert, _day_values(tenant_id, used, limits, now)):
        mark_dirty(tx, tenant_id, None)


def record_admission(
    tx: WriteTx, tenant_id: str, before: Use, limits: Limits, *, now: datetime
) -> None:
    """Count a run that is inserted in this transaction, and copy the limits it was measured by.

    `before` is the use that this transaction found before the run. That the published copies lack
    it is told by the run's own mark.
    """
    used = replace(before, today=before.today + 1, month=before.month + 1, live=before.live + 1)
    values = _day_values(tenant_id, used, limits, now) | {"last_pipeline_started_at": now}
    tx.connection.execute(_admission(tx.dialect), values)


def record_finish(tx: WriteTx, tenant_id: str, day: date, status: Status, *, now: datetime) -> None:
    """Count the outcome on the day the run was admitted, and recount the slots of all days. That
    the published copies lack it is told by the run's own mark. The caller holds the tenant.
    """
    moments = {"last_pipeline_completed_at": now, "last_updated": now}
    tx.connection.execute(_finish(status), {"of_tenant": tenant_id, "day": day, **moments})
    tx.connection.execute(_RECOUNT, {"of_tenant": tenant_id, "last_updated": now})


def record_refusal(tx: WriteTx, tenant_id: str, day: date, *, now: datetime) -> None:
    """Note that a limit was met; the moment of the first refusal stays."""
    ensure_day(tx, tenant_id, day, tenants.limits(tx, tenant_id), now=now)
    first = kept(_USAGE.quota_exceeded_at, now)
    changes = {"quota_exceeded": True, "quota_exceeded_at": first, "last_updated": now}
    _change(tx, tenant_id, day, changes)


def claim_warning(tx: WriteTx, tenant_id: str, day: date, *, now: datetime) -> bool:
    """True for the one caller of the day who shall warn."""
    change = sa.update(tenant_usage_quotas).where(
        _is_day(tenant_id, day), _USAGE.quota_warning_sent.is_not(sa.true())
    )
    is_mine = tx.write(change.values(quota_warning_sent=True, last_updated=now)) > 0
    if is_mine:
        mark_dirty(tx, tenant_id, None)
    return is_mine


def add_api_calls(tx: WriteTx, tenant_id: str, day: date, count: int, *, now: datetime) -> None:
    """Add calls that were counted in memory."""
    tenants.hold(tx, tenant_id)
    ensure_day(tx, tenant_id, day, tenants.limits(tx, tenant_id), now=now)
    total = sa.func.coalesce(_USAGE.total_api_calls_today, 0) + count
    _change(tx, tenant_id, day, {"total_api_calls_today": total, "last_updated": now})


def set_storage(
    tx: WriteTx, tenant_id: str, day: date, gigabytes: Decimal, *, now: datetime
) -> None:
    """What the tenant's dataset takes, in gigabytes, rounded to 0.01."""
    tenants.hold(tx, tenant_id)
    ensure_day(tx, tenant_id, day, tenants.limits(tx, tenant_id), now=now)
    _change(tx, tenant_id, day, {"total_storage_used_gb": gigabytes, "last_updated": now})


def _change(tx: WriteTx, tenant_id: str, day: date, changes: dict[str, Any]) -> None:
    change = sa.update(tenant_usage_quotas).where(_is_day(tenant_id, day))
    tx.write(change.values(**changes))
    mark_dirty(tx, tenant_id, None)


def _is_day(tenant_id: str, day: date) -> sa.ColumnElement[bool]:
    return sa.and_(_USAGE.tenant_id == tenant_id, _USAGE.usage_date == day)


def _day_values(tenant_id: str, used: Use, limits: Limits, now: datetime) -> dict[str, Any]:
    return {
        "usage_id": f"{tenant_id}_{used.day:%Y%m%d}",
        "tenant_id": tenant_id,
        "usage_date": used.day,
        "pipelines_run_today": used.today,
        "pipelines_run_month": used.month,
        "concurrent_pipelines_running": used.live,
        "max_concurrent_reached": used.live,
        "daily_limit": limits.daily_limit,
        "monthly_limit": limits.monthly_limit,
        "concurrent_limit": limits.concurrent_limit,
        "last_updated": now,
        "created_at": now,
    }


@cache
def _finish(status: Status) -> sa.Update:
    outcome = _OUTCOMES[status]
    change = sa.update(tenant_usage_quotas).where(
        _USAGE.tenant_id == _OF_TENANT, _USAGE.usage_date == sa.bindparam("day")
    )
    return change.values({outcome.name: sa.func.coalesce(outcome, 0) + 1})


@cache
def _admission(dialect: str) -> sa.Insert:
    statement = insert_into(tenant_usage_quotas, dialect)
    new = statement.excluded
    changed = (
        "pipelines_run_today",
        "pipelines_run_month",
        "concurrent_pipelines_running",
        "daily_limit",
        "monthly_limit",
        "concurrent_limit",
        "last_updated",
        "last_pipeline_started_at",
    )
    peak = sa.func.coalesce(_USAGE.max_concurrent_reached, 0)
    return statement.on_conflict_do_update(
        index_elements=["usage_id"],
        set_={
            **{name: new[name] for name in changed},
            "max_concurrent_reached": sa.case(
                (peak < new.max_concurrent_reached, new.max_concurrent_reached), else_=peak
            ),
        },
    )


def _month(day: date) -> dict[str, date]:
    """The first and the last day of the month."""
    first = day.replace(day=1)
    return {"first": first, "last": (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)}
