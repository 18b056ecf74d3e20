"""Schedules of one tenant, and their misses. Which are due, of all tenants, is in `fleet.py`.

What changes a schedule locks its row before anything else of the tenant but the tenant's own row,
so that no two writers wait for one another.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from convergence.errors import Invalid, NotFound
from convergence.model.run import Run, Status
from convergence.model.schedule import Miss, Schedule
from convergence.store import rows, tenants
from convergence.store.database import ReadTx, WriteTx, insert_into
from convergence.store.fleet import mark_dirty
from convergence.store.tables import schedule_misses, tenant_pipeline_configs, tenant_profiles

MOST = 1000
"""Schedules of one tenant."""
MISSES_KEPT = timedelta(days=90)

# Statements of the due ones are made once: at midnight there are many, and writers wait in line.
_CONFIGS = tenant_pipeline_configs.c
_IS_THERE = _CONFIGS.deleted_at.is_(None)
_IS_ONE = sa.and_(
    _CONFIGS.config_id == sa.bindparam("of_config"),
    _CONFIGS.tenant_id == sa.bindparam("of_tenant"),
    _IS_THERE,
)
_GET = sa.select(tenant_pipeline_configs).where(_IS_ONE)
_CLAIM = (
    sa.select(tenant_pipeline_configs)
    .join(tenant_profiles, tenant_profiles.c.tenant_id == _CONFIGS.tenant_id)
    .where(
        _IS_ONE, _CONFIGS.is_active.is_(sa.true()), _CONFIGS.next_run_time <= sa.bindparam("now")
    )
    .with_for_update(key_share=True, skip_locked=True)
)
_CHANGE = sa.update(tenant_pipeline_configs).where(_IS_ONE)
_NOTE_END = sa.update(tenant_pipeline_configs).where(
    _CONFIGS.last_run_id == sa.bindparam("of_run"),
    _CONFIGS.tenant_id == sa.bindparam("of_tenant"),
)


def add(tx: WriteTx, schedule: Schedule) -> None:
    """Raises NotFound (tenant) and Invalid: the same one is there already, or too many are."""
    tenant_id = schedule.tenant_id
    tenants.lock(tx, tenant_id)
    mine = (_CONFIGS.tenant_id == tenant_id) & _IS_THERE
    count = tx.connection.execute(sa.select(sa.func.count()).where(mine)).scalar_one()
    if count >= MOST:
        raise Invalid(
            f"{tenant_id} has {count} schedules; {MOST} are allowed",
            code="too_many_schedules",
            hint="delete one that is no longer used",
        )
    values = rows.schedule_values(schedule) | {"fingerprint": _fingerprint(schedule)}
    insert = insert_into(tenant_pipeline_configs, tx.dialect).values(values)
    if not tx.write(insert.on_conflict_do_nothing()):
        raise _doubled(schedule)
    mark_dirty(tx, tenant_id, None)


def get(tx: ReadTx, tenant_id: str, config_id: str) -> Schedule:
    """Raises NotFound, for another tenant's schedule too."""
    return _found(tx, _GET, tenant_id, config_id)


def lock(tx: WriteTx, tenant_id: str, config_id: str) -> Schedule:
    """`get`, and nobody changes it before the end of the transaction."""
    return _found(tx, _GET.with_for_update(), tenant_id, config_id)


def of_tenant(tx: ReadTx, tenant_id: str, *, with_deleted: bool = False) -> list[Schedule]:
    """By id."""
    query = sa.select(tenant_pipeline_configs).where(_CONFIGS.tenant_id == tenant_id)
    if not with_deleted:
        query = query.where(_IS_THERE)
    found = tx.connection.execute(query.order_by(_CONFIGS.config_id))
    return [rows.schedule(row) for row in found]


def claim(tx: WriteTx, tenant_id: str, config_id: str, *, now: datetime) -> Schedule | None:
    """The schedule and its tenant, locked, if it is due and neither is in anybody's hands.

    Nobody is waited for, so that no tenant waits for another.
    """
    row = tx.connection.execute(_CLAIM, _of(tenant_id, config_id) | {"now": now}).one_or_none()
    return rows.schedule(row) if row else None


def save(tx: WriteTx, schedule: Schedule) -> None:
    """Write the schedule as it is now. Raises Invalid when it has become the same as another."""
    values = rows.schedule_values(schedule) | {"fingerprint": _fingerprint(schedule)}
    twin = sa.select(_CONFIGS.config_id).where(
        _CONFIGS.tenant_id == schedule.tenant_id,
        _CONFIGS.fingerprint == values["fingerprint"],
        _CONFIGS.config_id != schedule.config_id,
    )
    if tx.connection.execute(twin).first() is not None:
        raise _doubled(schedule)
    _change(tx, schedule.tenant_id, schedule.config_id, values)


def advance(tx: WriteTx, schedule: Schedule) -> None:
    """Write what became of a due moment."""
    values = rows.schedule_values(schedule)
    _change(tx, schedule.tenant_id, schedule.config_id, values)


def remove(tx: WriteTx, tenant_id: str, config_id: str, *, now: datetime) -> None:
    """It never runs again, and is no longer shown. Raises NotFound."""
    gone = {"is_active": False, "deleted_at": now, "fingerprint": None, "next_run_time": None}
    if not _change(tx, tenant_id, config_id, gone):
        raise _absent(config_id)


def note_end(tx: WriteTx, run: Run, status: Status) -> None:
    """A run has ended: the schedule whose last run it is shows how."""
    mine = {"of_run": run.run_id, "of_tenant": run.tenant_id}
    if tx.write(_NOTE_END, mine | {"last_run_status": status.value}):
        mark_dirty(tx, run.tenant_id, None)


def record_miss(tx: WriteTx, tenant_id: str, config_id: str, miss: Miss) -> None:
    """Keep it for 90 days."""
    table = schedule_misses
    values = rows.miss_values(miss) | {"tenant_id": tenant_id, "config_id": config_id}
    tx.write(insert_into(table, tx.dialect).values(values).on_conflict_do_nothing())
    is_old = table.c.recorded_at < miss.recorded_at - MISSES_KEPT
    tx.write(sa.delete(table).where(table.c.config_id == config_id, is_old))


def misses(tx: ReadTx, tenant_id: str, config_id: str, *, limit: int) -> list[Miss]:
    """The latest first."""
    table = schedule_misses
    mine = (table.c.tenant_id == tenant_id) & (table.c.config_id == config_id)
    query = sa.select(table).where(mine).order_by(table.c.first_due.desc()).limit(limit)
    return [rows.miss(row) for row in tx.connection.execute(query)]


def _change(tx: WriteTx, tenant_id: str, config_id: str, values: Mapping[str, Any]) -> int:
    changed = tx.write(_CHANGE, {**_of(tenant_id, config_id), **values})
    if changed:
        mark_dirty(tx, tenant_id, None)
    return changed


def _of(tenant_id: str, config_id: str) -> dict[str, Any]:
    return {"of_tenant": tenant_id, "of_config": config_id}


def _found(tx: ReadTx, query: sa.Select[Any], tenant_id: str, config_id: str) -> Schedule:
    row = tx.connection.execute(query, _of(tenant_id, config_id)).one_or_none()
    if row is None:
        raise _absent(config_id)
    return rows.schedule(row)


def _fingerprint(schedule: Schedule) -> str:
    """What two schedules of a tenant may not both have."""
    what = [schedule.template, schedule.cron, schedule.timezone, schedule.date_offset]
    text = json.dumps([what, dict(schedule.parameters)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _doubled(schedule: Schedule) -> Invalid:
    return Invalid(
        f"{schedule.template} is scheduled at {schedule.cron!r} with the same parameters already",
        code="schedule_exists",
        hint="change that schedule, or its time or parameters",
    )


def _absent(config_id: str) -> NotFound:
    return NotFound(
        f"Schedule not found: {config_id[:60]}",
        code="schedule_not_found",
        hint="the tenant's schedules are listed by the same route",
    )
