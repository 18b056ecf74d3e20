"""The only questions across tenants: for the sweeper, the ledger, the operator and metrics."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa

from convergence.model.credential import Credential, Provider
from convergence.model.event import Event
from convergence.model.key import ApiKeyRecord
from convergence.model.notification import Notification
from convergence.model.run import Run, RunFilter, Status
from convergence.model.source import Grant, Source
from convergence.model.tenant import Tenant, TenantStatus, WarehouseKind
from convergence.model.usage import UsageRow
from convergence.store import listing, rows
from convergence.store import tables as t
from convergence.store.database import ReadTx, WriteTx, insert_into

TOUCH_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dirty:
    """What the published copies lack: a run with its steps, or (None) a tenant's central rows.

    `version` grows with each mark; `dirty_id` is never used twice.
    """

    tenant_id: str
    run_id: str | None
    version: int
    dirty_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DueSchedule:
    """A schedule that is due, and its place among those that are."""

    tenant_id: str
    config_id: str
    priority: int
    next_run_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleCounts:
    """Schedules of all tenants; `waiting` are due and wait for a slot."""

    active: int
    due: int
    waiting: int
    next_due: datetime | None


def tenants(tx: ReadTx, *, limit: int, after: str | None) -> list[Tenant]:
    """Tenants by id, those after `after`."""
    query = sa.select(t.tenant_profiles).order_by(t.tenant_profiles.c.tenant_id).limit(limit)
    if after is not None:
        query = query.where(t.tenant_profiles.c.tenant_id > after)
    return [rows.tenant(row) for row in tx.connection.execute(query)]


def datasets(tx: ReadTx, warehouse: WarehouseKind) -> frozenset[str]:
    """The datasets of all tenants whose tables a warehouse has."""
    profiles = t.tenant_profiles.c
    query = sa.select(profiles.tenant_dataset_id).where(profiles.warehouse == warehouse.value)
    return frozenset(tx.connection.execute(query).scalars())


def tenants_in(tx: ReadTx, warehouse: WarehouseKind) -> frozenset[str]:
    """The tenants whose tables a warehouse has."""
    profiles = t.tenant_profiles.c
    query = sa.select(profiles.tenant_id).where(profiles.warehouse == warehouse.value)
    return frozenset(tx.connection.execute(query).scalars())


def elsewhere(tx: ReadTx, warehouse: WarehouseKind) -> frozenset[str]:
    """The tenants whose tables another warehouse has."""
    profiles = t.tenant_profiles.c
    query = sa.select(profiles.tenant_id).where(profiles.warehouse != warehouse.value)
    return frozenset(tx.connection.execute(query).scalars())


def tenant_of_dataset(tx: ReadTx, dataset: str) -> Tenant | None:
    """Whose dataset this is."""
    query = sa.select(t.tenant_profiles).where(t.tenant_profiles.c.tenant_dataset_id == dataset)
    row = tx.connection.execute(query).first()
    return rows.tenant(row) if row else None


def byte_limit_of(tx: ReadTx, dataset: str) -> int | None:
    """Bytes that one statement in a tenant's dataset may be billed for."""
    profiles, subscriptions = t.tenant_profiles, t.tenant_subscriptions
    query = (
        sa.select(subscriptions.c.maximum_bytes_billed)
        .join(profiles, profiles.c.tenant_id == subscriptions.c.tenant_id)
        .where(profiles.c.tenant_dataset_id == dataset)
    )
    return tx.connection.execute(query).scalar_one_or_none()


def credential_of(tx: ReadTx, dataset: str) -> Credential | None:
    """The credential that reaches a tenant's dataset, where it has one."""
    profiles, stored = t.tenant_profiles, t.tenant_cloud_credentials
    query = (
        sa.select(stored)
        .join(profiles, profiles.c.tenant_id == stored.c.tenant_id)
        .where(profiles.c.tenant_dataset_id == dataset)
        .where(stored.c.provider == Provider.GCP.value, stored.c.is_active)
    )
    row = tx.connection.execute(query).one_or_none()
    return rows.credential(row) if row is not None else None


def usage_of(tx: ReadTx, day: date) -> list[UsageRow]:
    """The usage rows of one UTC day."""
    query = sa.select(t.tenant_usage_quotas).where(t.tenant_usage_quotas.c.usage_date == day)
    return [UsageRow(**row._mapping) for row in tx.connection.execute(query)]


def without_usage(tx: ReadTx, day: date) -> list[str]:
    """The active tenants that have no usage row for the UTC day yet."""
    used = sa.select(t.tenant_usage_quotas.c.tenant_id).where(
        t.tenant_usage_quotas.c.usage_date == day
    )
    profiles = t.tenant_profiles
    is_active = profiles.c.status == TenantStatus.ACTIVE.value
    query = sa.select(profiles.c.tenant_id).where(is_active, profiles.c.tenant_id.not_in(used))
    return list(tx.connection.execute(query).scalars())


def key(tx: ReadTx, key_id: str) -> ApiKeyRecord | None:
    """The key of this public id, also when it is revoked or expired."""
    query = sa.select(t.tenant_api_keys).where(t.tenant_api_keys.c.api_key_id == key_id)
    row = tx.connection.execute(query).first()
    return rows.api_key(row) if row else None


def touch_key(tx: WriteTx, key_id: str, *, now: datetime) -> None:
    """Note that a key was used; written at most once a minute."""
    keys = t.tenant_api_keys
    is_stale = keys.c.last_used_at.is_(None) | (keys.c.last_used_at <= now - TOUCH_EVERY)
    change = sa.update(keys).where(keys.c.api_key_id == key_id, is_stale).values(last_used_at=now)
    tenant_id = tx.connection.execute(change.returning(keys.c.tenant_id)).scalar()
    if tenant_id is not None:
        mark_dirty(tx, tenant_id, None)


def sources(tx: ReadTx) -> list[Source]:
    """All sources by table, with their grants."""
    grants: dict[str, list[Grant]] = {}
    query = sa.select(t.source_grants).order_by(t.source_grants.c.tenant_id)
    for row in tx.connection.execute(query):
        grants.setdefault(row.table_name, []).append(rows.grant(row))
    found = tx.connection.execute(sa.select(t.sources).order_by(t.sources.c.table_name))
    return [rows.source(row, tuple(grants.get(row.table_name, ()))) for row in found]


def source(tx: ReadTx, table: str) -> Source | None:
    query = sa.select(t.sources).where(t.sources.c.table_name == table)
    row = tx.connection.execute(query).first()
    if row is None:
        return None
    grants = sa.select(t.source_grants).where(t.source_grants.c.table_name == table)
    ordered = tx.connection.execute(grants.order_by(t.source_grants.c.tenant_id))
    return rows.source(row, tuple(rows.grant(grant) for grant in ordered))


def live_runs(tx: ReadTx) -> dict[str, str]:
    """The ids of all PENDING and RUNNING runs, oldest first, and whose they are."""
    runs = t.pipeline_runs
    query = sa.select(runs.c.run_id, runs.c.tenant_id).where(t.IS_LIVE)
    found = tx.connection.execute(query.order_by(runs.c.created_at, runs.c.run_id))
    return {row.run_id: row.tenant_id for row in found}


def is_any_waiting(tx: ReadTx) -> bool:
    """Whether a run waits for a worker."""
    runs = t.pipeline_runs.c
    waiting = sa.exists().where(t.IS_LIVE, runs.status == Status.PENDING.value)
    return bool(tx.connection.execute(sa.select(waiting)).scalar())


def cancelled_among(tx: ReadTx, run_ids: Collection[str]) -> list[str]:
    """Those of these runs that somebody asked to end."""
    runs = t.pipeline_runs.c
    asked = runs.cancel_requested_at.is_not(None)
    query = sa.select(runs.run_id).where(runs.run_id.in_(run_ids), asked)
    return list(tx.connection.execute(query).scalars())


def leased_runs(tx: ReadTx) -> frozenset[str]:
    """The runs that hold a lease on a load."""
    return frozenset(tx.connection.execute(sa.select(t.load_leases.c.run_id)).scalars())


def free_leases(tx: WriteTx, run_ids: Collection[str]) -> None:
    """Take the leases from runs that nobody executes."""
    tx.write(sa.delete(t.load_leases).where(t.load_leases.c.run_id.in_(run_ids)))


def page_runs(
    tx: ReadTx, wanted: RunFilter, *, limit: int, before: tuple[datetime, str] | None
) -> list[Run]:
    """Runs of all tenants, newest first by (created_at, run_id), those before `before`."""
    statuses = [status.value for status in wanted.statuses]
    conditions = [t.pipeline_runs.c.status.in_(statuses)] if statuses else []
    return listing.newest(tx, conditions, wanted, limit, before)


def count_newest(tx: ReadTx, *, limit: int) -> dict[Status, int]:
    """How many of the newest `limit` runs of all tenants are in each status."""
    return listing.count_newest(tx, (), limit=limit)


def run_tenant(tx: ReadTx, run_id: str) -> str | None:
    """Whose run this is."""
    runs = t.pipeline_runs
    return tx.connection.execute(
        sa.select(runs.c.tenant_id).where(runs.c.run_id == run_id)
    ).scalar_one_or_none()


def status_counts(tx: ReadTx) -> dict[tuple[str, Status], int]:
    """Live runs by tenant and status."""
    runs = t.pipeline_runs
    query = sa.select(runs.c.tenant_id, runs.c.status, sa.func.count()).where(t.IS_LIVE)
    found = tx.connection.execute(query.group_by(runs.c.tenant_id, runs.c.status))
    return {(tenant_id, Status(status)): count for tenant_id, status, count in found}


def event_position(tx: ReadTx) -> int:
    """All events below it are visible in this snapshot; later ones are not below it."""
    if tx.dialect == "sqlite":
        newest = sa.func.coalesce(sa.func.max(t.events.c.position), 0)
        return int(tx.connection.execute(sa.select(newest)).scalar_one()) + 1
    return int(tx.connection.execute(_OLDEST_OPEN).scalar_one())


def events_since(
    tx: ReadTx, position: int, *, after: tuple[int, str, int] | None = None, limit: int
) -> list[Event]:
    """Events of all runs from `position` on, those after `after` (position, run_id, sequence).

    Who goes on from an `event_position` misses none, and on PostgreSQL may see some again.
    """
    order = [t.events.c[name] for name in ("position", "run_id", "sequence")]
    query = sa.select(t.events).where(t.events.c.position >= position)
    if tx.dialect != "sqlite":
        # Transactions that a restored copy brought along from another server are none of ours.
        query = query.where(t.events.c.position < _NEWEST)
    if after is not None:
        query = query.where(sa.tuple_(*order) > sa.tuple_(*map(sa.literal, after)))
    found = tx.connection.execute(query.order_by(*order).limit(limit))
    return [rows.event(row) for row in found]


def _xid(of: sa.Function[Any]) -> sa.ColumnElement[int]:
    return sa.cast(sa.cast(of, sa.Text), sa.BigInteger)


_NEWEST = _xid(sa.func.pg_snapshot_xmax(sa.func.pg_current_snapshot()))
_OLDEST_OPEN = sa.select(_xid(sa.func.pg_snapshot_xmin(sa.func.pg_current_snapshot())))


def mark_dirty(tx: WriteTx, tenant_id: str, run_id: str | None) -> None:
    """Say that the published copies lack something. Every write of a published fact calls it."""
    values = {"tenant_id": tenant_id, "run_id": run_id or "", "version": 1}
    tx.connection.execute(_mark(tx.dialect), values)


@cache
def _mark(dialect: str) -> sa.Insert:
    table = t.ledger_dirty
    return insert_into(table, dialect).on_conflict_do_update(
        index_elements=[table.c.tenant_id, table.c.run_id],
        set_={"version": table.c.version + 1},
    )


def dirty(tx: ReadTx, limit: int, *, but: Collection[str] = ()) -> list[Dirty]:
    """What to publish, longest waiting first; nothing of the tenants `but`."""
    table = t.ledger_dirty
    query = sa.select(table).where(table.c.tenant_id.not_in(but)).order_by(table.c.dirty_id)
    return [
        Dirty(
            tenant_id=row.tenant_id,
            run_id=row.run_id or None,
            version=row.version,
            dirty_id=row.dirty_id,
        )
        for row in tx.connection.execute(query.limit(limit))
    ]


def has_published(tx: ReadTx, warehouse: WarehouseKind) -> bool:
    """Whether a tenant whose tables a warehouse has was published: none of it is left to do."""
    profiles, marks = t.tenant_profiles.c, t.ledger_dirty.c
    waiting = sa.select(marks.tenant_id).where(marks.run_id == "")
    query = sa.select(profiles.tenant_id).where(
        profiles.warehouse == warehouse.value, profiles.tenant_id.not_in(waiting)
    )
    return tx.connection.execute(query.limit(1)).first() is not None


def clean(tx: WriteTx, published: Collection[Dirty]) -> None:
    """Forget marks, but those made again since they were read, or being made right now."""
    table = t.ledger_dirty
    read = [(each.dirty_id, each.version) for each in published]
    unchanged = (
        sa.select(table.c.dirty_id)
        .where(sa.tuple_(table.c.dirty_id, table.c.version).in_(read))
        .with_for_update(skip_locked=True)
    )
    tx.write(sa.delete(table).where(table.c.dirty_id.in_(unchanged)))


def due_schedules(
    tx: ReadTx, *, now: datetime, limit: int, after: DueSchedule | None = None
) -> list[DueSchedule]:
    """What is due, by priority and then by time, behind `after`.

    One that waits for a slot is due again when its tenant has one: slots are counted.
    """
    configs, runs, plan = t.tenant_pipeline_configs.c, t.pipeline_runs.c, t.tenant_subscriptions.c
    live = sa.select(sa.func.count()).where(t.IS_LIVE, runs.tenant_id == configs.tenant_id)
    slots = sa.select(plan.concurrent_limit).where(plan.tenant_id == configs.tenant_id)
    has_slot = live.scalar_subquery() < slots.scalar_subquery()
    order = (configs.priority, configs.next_run_time, configs.config_id)
    query = (
        sa.select(configs.tenant_id, *order)
        .where(
            sa.text("is_active"),
            configs.next_run_time <= now,
            configs.retry_at.is_(None) | (configs.retry_at <= now),
            configs.waiting_since.is_(None) | has_slot,
        )
        .order_by(*order)
        .limit(limit)
    )
    if after is not None:
        seen = (after.priority, after.next_run_time, after.config_id)
        last = [sa.literal(value, column.type) for value, column in zip(seen, order, strict=True)]
        query = query.where(sa.tuple_(*order) > sa.tuple_(*last))
    return [DueSchedule(**row._mapping) for row in tx.connection.execute(query)]


def schedule_counts(tx: ReadTx, *, now: datetime) -> ScheduleCounts:
    """Active schedules, those that are due, and the next moment at which one is."""
    configs = t.tenant_pipeline_configs.c
    query = sa.select(
        sa.func.count(),
        sa.func.count().filter(configs.next_run_time <= now),
        sa.func.count(configs.waiting_since),
    ).where(sa.text("is_active"))
    active, due, waiting = tx.connection.execute(query.select_from(configs.config_id.table)).one()
    then = sa.select(configs.next_run_time).where(sa.text("is_active"), configs.next_run_time > now)
    first = tx.connection.execute(then.order_by(configs.next_run_time).limit(1)).scalar()
    return ScheduleCounts(active=active, due=due, waiting=waiting, next_due=first)


def average_seconds(tx: ReadTx, *, since: datetime) -> float | None:
    """Of the newest 1,000 ended runs that were admitted since then, from first claim to end."""
    runs = t.pipeline_runs.c
    query = sa.select(runs.started_at, runs.ended_at).where(runs.created_at >= since)
    ended = query.where(runs.ended_at.is_not(None), runs.started_at.is_not(None))
    newest = ended.order_by(runs.created_at.desc(), runs.run_id.desc()).limit(1000)
    spans = [
        (row.ended_at - row.started_at).total_seconds() for row in tx.connection.execute(newest)
    ]
    return round(sum(spans) / len(spans), 3) if spans else None


def has_notifications(tx: ReadTx, *, now: datetime) -> bool:
    """Whether one is to be delivered."""
    return tx.connection.execute(_due_notification(now)).first() is not None


def claim_notification(tx: WriteTx, *, now: datetime, until: datetime) -> Notification | None:
    """The next to deliver. Nobody else tries it before `until`."""
    table = t.outbox
    due = _due_notification(now).with_for_update(skip_locked=True)
    found = tx.connection.execute(due).scalar()
    change = sa.update(table).where(table.c.notification_id == found)
    claim = change.values(next_attempt_at=until, attempts=table.c.attempts + 1).returning(table)
    row = tx.connection.execute(claim).one_or_none()
    return rows.notification(row) if row else None


def _due_notification(now: datetime) -> sa.Select[tuple[str]]:
    table = t.outbox
    is_due = sa.and_(t.IS_WAITING, table.c.next_attempt_at <= now)
    query = sa.select(table.c.notification_id).where(is_due)
    return query.order_by(table.c.next_attempt_at).limit(1)
