"""What a tenant used on one UTC day. Written only by admission, finish and the two meters.

Live runs are always counted, never added up, and a month is the sum of its days: nothing can
drift. On PostgreSQL `use` and `record_admission` are right only under `tenants.lock`.
"""

from datetime import date, datetime, timedelta
from decimal import Decimal
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


def use(tx: ReadTx, tenant_id: str, day: date) -> Use:
    """What counts against the limits at this moment."""
    first = day.replace(day=1)
    today = sa.func.sum(_USAGE.pipelines_run_today).filter(_USAGE.usage_date == day)
    month = sa.func.sum(_USAGE.pipelines_run_today)
    query = sa.select(today, month, _live(tenant_id)).where(
        _USAGE.tenant_id == tenant_id, _USAGE.usage_date.between(first, _last(day))
    )
    counts = tx.connection.execute(query).one()
    return Use(day=day, today=int(counts[0] or 0), month=int(counts[1] or 0), live=counts[2])


def row(tx: ReadTx, tenant_id: str, day: date) -> UsageRow | None:
    found = tx.connection.execute(
        sa.select(tenant_usage_quotas).where(_is_day(tenant_id, day))
    ).one_or_none()
    return UsageRow(**found._mapping) if found else None


def ensure_day(tx: WriteTx, tenant_id: str, day: date, limits: Limits, *, now: datetime) -> None:
    """The day has a row afterwards; one that is there stays as it is."""
    statement = insert_into(tx, tenant_usage_quotas).values(
        **_new_day(tenant_id, day, limits, now),
        pipelines_run_month=_earlier(tenant_id, day),
        concurrent_pipelines_running=_live(tenant_id),
        max_concurrent_reached=_live(tenant_id),
    )
    if tx.write(statement.on_conflict_do_nothing()):
        mark_dirty(tx, tenant_id, None)


def record_admission(
    tx: WriteTx, tenant_id: str, day: date, limits: Limits, *, now: datetime
) -> None:
    """Count a run that was just inserted, and copy the limits it was measured by."""
    earlier, live = _earlier(tenant_id, day), _live(tenant_id)
    always: dict[str, Any] = {
        "concurrent_pipelines_running": live,
        **_copied(limits),
        "last_updated": now,
        "last_pipeline_started_at": now,
    }
    today = {
        **_new_day(tenant_id, day, limits, now),
        **always,
        "pipelines_run_today": 1,
        "pipelines_run_month": earlier + 1,
        "max_concurrent_reached": live,
    }
    changes = {
        **always,
        "pipelines_run_today": _USAGE.pipelines_run_today + 1,
        "pipelines_run_month": earlier + _USAGE.pipelines_run_today + 1,
        "max_concurrent_reached": _greater(_USAGE.max_concurrent_reached, live),
    }
    statement = insert_into(tx, tenant_usage_quotas).values(**today)
    tx.write(statement.on_conflict_do_update(index_elements=["usage_id"], set_=changes))
    mark_dirty(tx, tenant_id, None)


def record_finish(tx: WriteTx, tenant_id: str, day: date, status: Status, *, now: datetime) -> None:
    """Count the outcome on the day the run was admitted, and recount the slots of all days."""
    tenants.hold(tx, tenant_id)
    outcome = _OUTCOMES[status]
    _change(
        tx,
        tenant_id,
        day,
        {
            outcome.name: sa.func.coalesce(outcome, 0) + 1,
            "last_pipeline_completed_at": now,
            "last_updated": now,
        },
    )
    live = _live(tenant_id)
    held = _USAGE.concurrent_pipelines_running
    tx.write(
        sa.update(tenant_usage_quotas)
        .where(_USAGE.tenant_id == tenant_id, held > sa.literal_column("0"), held > live)
        .values(concurrent_pipelines_running=live, last_updated=now)
    )


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
    ensure_day(tx, tenant_id, day, tenants.limits(tx, tenant_id), now=now)
    total = sa.func.coalesce(_USAGE.total_api_calls_today, 0) + count
    _change(tx, tenant_id, day, {"total_api_calls_today": total, "last_updated": now})


def set_storage(
    tx: WriteTx, tenant_id: str, day: date, gigabytes: Decimal, *, now: datetime
) -> None:
    """What the tenant's dataset takes, in gigabytes, rounded to 0.01."""
    ensure_day(tx, tenant_id, day, tenants.limits(tx, tenant_id), now=now)
    _change(tx, tenant_id, day, {"total_storage_used_gb": gigabytes, "last_updated": now})


def _change(tx: WriteTx, tenant_id: str, day: date, changes: dict[str, Any]) -> None:
    change = sa.update(tenant_usage_quotas).where(_is_day(tenant_id, day))
    tx.write(change.values(**changes))
    mark_dirty(tx, tenant_id, None)


def _is_day(tenant_id: str, day: date) -> sa.ColumnElement[bool]:
    return sa.and_(_USAGE.tenant_id == tenant_id, _USAGE.usage_date == day)


def _new_day(tenant_id: str, day: date, limits: Limits, now: datetime) -> dict[str, Any]:
    return {
        "usage_id": f"{tenant_id}_{day:%Y%m%d}",
        "tenant_id": tenant_id,
        "usage_date": day,
        **_copied(limits),
        "last_updated": now,
        "created_at": now,
    }


def _copied(limits: Limits) -> dict[str, int]:
    return {
        "daily_limit": limits.daily_limit,
        "monthly_limit": limits.monthly_limit,
        "concurrent_limit": limits.concurrent_limit,
    }


def _live(tenant_id: str) -> sa.ScalarSelect[int]:
    query = sa.select(sa.func.count()).where(IS_LIVE, pipeline_runs.c.tenant_id == tenant_id)
    return query.scalar_subquery()


def _earlier(tenant_id: str, day: date) -> sa.ColumnElement[int]:
    """Runs of the month of `day` on its other days."""
    other = tenant_usage_quotas.alias("other")
    query = sa.select(sa.func.sum(other.c.pipelines_run_today)).where(
        other.c.tenant_id == tenant_id,
        other.c.usage_date.between(day.replace(day=1), _last(day)),
        other.c.usage_date != day,
    )
    return sa.cast(sa.func.coalesce(query.scalar_subquery(), 0), sa.BigInteger)


def _last(day: date) -> date:
    """The last day of the month."""
    return (day.replace(day=1) + timedelta(days=31)).replace(day=1) - timedelta(days=1)


def _greater(column: sa.ColumnElement[int], value: sa.ScalarSelect[int]) -> sa.Case[int]:
    known = sa.func.coalesce(column, 0)
    return sa.case((known < value, value), else_=known)
