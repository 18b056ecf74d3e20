"""Loads and the leases they are made under: one run at a time writes a day of a source."""

from collections.abc import Collection
from datetime import date, datetime, timedelta

import sqlalchemy as sa

from convergence.errors import Conflict, NotFound
from convergence.model.load import Load, LoadKey, LoadStatus, SourceState
from convergence.store import incomplete, restatements, rows, versions
from convergence.store.database import ReadTx, WriteTx, insert_into
from convergence.store.tables import load_leases, loads

TICK = timedelta(microseconds=1)

# Made once: every run that ends sends it.
_RELEASE_ALL = sa.delete(load_leases).where(
    load_leases.c.tenant_id == sa.bindparam("of_tenant"),
    load_leases.c.run_id == sa.bindparam("of_run"),
)


def acquire(  # noqa: PLR0913 - who, what and how long, all by name
    tx: WriteTx,
    tenant_id: str,
    key: LoadKey,
    *,
    run_id: str,
    attempt: int,
    now: datetime,
    seconds: float,
) -> bool:
    """Take the lease of a key for `seconds`. False while another run, or a newer attempt of
    this one, has it.
    """
    leases = load_leases.c
    taken = {"run_id": run_id, "attempt": attempt, "expires_at": now + timedelta(seconds=seconds)}
    is_mine = sa.and_(leases.run_id == run_id, leases.attempt <= attempt)
    statement = insert_into(load_leases, tx.dialect).values(
        tenant_id=tenant_id, **rows.key_values(key), **taken
    )
    written = tx.write(
        statement.on_conflict_do_update(
            index_elements=["tenant_id", "table_name", "day", "source"],
            set_=taken,
            where=is_mine | (leases.expires_at <= now),
        )
    )
    return bool(written)


def release(tx: WriteTx, tenant_id: str, key: LoadKey, *, run_id: str) -> None:
    """Give the lease back, if it is this run's."""
    held = sa.and_(rows.has_key(load_leases, tenant_id, key), load_leases.c.run_id == run_id)
    tx.write(sa.delete(load_leases).where(held))


def held_days(tx: ReadTx, tenant_id: str, table: str, *, now: datetime) -> set[date]:
    """The days of a table, "" for any, that are held by anybody."""
    leases = load_leases.c
    query = sa.select(leases.day).where(leases.tenant_id == tenant_id, leases.expires_at > now)
    if table:
        query = query.where(leases.table_name == table)
    return set(tx.connection.execute(query).scalars())


def release_all(tx: WriteTx, tenant_id: str, run_id: str) -> None:
    """Give back every lease of a run: it is over."""
    tx.write(_RELEASE_ALL, {"of_tenant": tenant_id, "of_run": run_id})


def stage(tx: WriteTx, load: Load) -> None:
    """Write a load as STAGED, over an earlier try of the same id. Raises Conflict unless this
    run and attempt hold the lease, and when the load was published.
    """
    _check_lease(tx, load)
    values = {**rows.load_values(load), "status": LoadStatus.STAGED.value, "published_at": None}
    written = tx.write(
        insert_into(loads, tx.dialect)
        .values(**values)
        .on_conflict_do_update(
            index_elements=["load_id"],
            set_=values,
            where=sa.and_(
                loads.c.status != LoadStatus.PUBLISHED.value,
                loads.c.tenant_id == load.tenant_id,
                loads.c.run_id == load.run_id,
            ),
        )
    )
    if not written:
        raise Conflict(f"Load {load.load_id} exists and is not open", code="load_published")


def publish(tx: WriteTx, tenant_id: str, load_id: str, *, now: datetime) -> Load:
    """STAGED to PUBLISHED; safe to repeat. `published_at` is later than that of the load it
    follows, whatever the clock says. Raises NotFound; Conflict for a load that was discarded.
    """
    # First of all: of who publishes loads of one tenant, one waits for the other here alone.
    versions.advance(tx, tenant_id)
    load = _expect(_locked(tx, tenant_id, load_id), LoadStatus.STAGED, LoadStatus.PUBLISHED)
    if load.status is LoadStatus.PUBLISHED:
        return load
    before = published(tx, tenant_id, load.key)
    if before is not None and before.published_at is not None:
        now = max(now, before.published_at + TICK)
    _set(tx, load_id, LoadStatus.PUBLISHED, published_at=now)
    restatements.record(tx, load, at=now)
    if not load.is_sample:
        incomplete.clear(tx, tenant_id, load.key)
    return get(tx, tenant_id, load_id)


def confirm(tx: WriteTx, tenant_id: str, load_id: str, state: SourceState) -> None:
    """The rows of a published load are as the source is: where they are found now."""
    is_own = sa.and_(loads.c.tenant_id == tenant_id, loads.c.load_id == load_id)
    tx.write(sa.update(loads).where(is_own).values(source_state=state.to_json()))


def discard(tx: WriteTx, tenant_id: str, load_id: str) -> None:
    """STAGED to DISCARDED; safe to repeat. Raises NotFound; Conflict for a published load."""
    _expect(_locked(tx, tenant_id, load_id), LoadStatus.STAGED, LoadStatus.DISCARDED)
    _set(tx, load_id, LoadStatus.DISCARDED)
    restatements.discard(tx, tenant_id, load_id)


def get(tx: ReadTx, tenant_id: str, load_id: str) -> Load:
    """Raises NotFound."""
    return _found(tx, _by_id(tenant_id, load_id), load_id)


def published(tx: ReadTx, tenant_id: str, key: LoadKey) -> Load | None:
    """The newest published load of a key: what readers see."""
    is_published = loads.c.status == LoadStatus.PUBLISHED.value
    query = sa.select(loads).where(rows.has_key(loads, tenant_id, key), is_published)
    row = tx.connection.execute(query.order_by(loads.c.published_at.desc()).limit(1)).first()
    return rows.load(row) if row else None


def published_days(
    tx: ReadTx, tenant_id: str, table: str, source: str, *, first: date, last: date
) -> set[date]:
    """Days, from `first` to `last`, of which a load with rows was published."""
    query = sa.select(loads.c.day).where(
        *_published(tenant_id, table),
        loads.c.day.between(first, last),
        loads.c.source == source,
        loads.c.row_count > 0,
    )
    return set(tx.connection.execute(query.distinct()).scalars())


def read_from(
    tx: ReadTx, tenant_id: str, table: str, source: str, *, first: date = date.min
) -> dict[date, SourceState | None]:
    """What each day's rows were read from, of days from `first` on; None where they are a sample,
    or where a load that was cut off may have taken effect.
    """
    of_source = (
        loads.c.tenant_id == tenant_id,
        loads.c.table_name == table,
        loads.c.source == source,
        loads.c.day >= first,
    )
    ranked = _ranked(*of_source, loads.c.status == LoadStatus.PUBLISHED.value)
    newest = sa.select(loads.c.day, loads.c.is_sample, loads.c.source_state).join(*ranked)
    found = {
        row.day: None if row.is_sample else SourceState.from_json(row.source_state)
        for row in tx.connection.execute(newest)
    }
    is_open = loads.c.status == LoadStatus.STAGED.value
    left = tx.connection.execute(sa.select(loads.c.day).where(*of_source, is_open)).scalars()
    return found | dict.fromkeys(left)


def is_shared(tx: ReadTx, tenant_id: str, key: LoadKey, days: Collection[date]) -> bool:
    """Whether another source has rows of one of the days, or may have: what is STAGED is seen by
    readers when a crash, or the next moment, lies between the warehouse and the store.
    """
    query = sa.select(loads.c.load_id).where(
        loads.c.tenant_id == tenant_id,
        loads.c.table_name == key.table,
        loads.c.status != LoadStatus.DISCARDED.value,
        loads.c.day.in_(days),
        loads.c.source != key.source,
        loads.c.row_count > 0,
    )
    return tx.connection.execute(query.limit(1)).first() is not None


def shared_days(tx: ReadTx, tenant_id: str, table: str) -> list[date]:
    """Days of which more than one source has published rows."""
    query = (
        sa.select(loads.c.day)
        .where(*_published(tenant_id, table), loads.c.row_count > 0)
        .group_by(loads.c.day)
        .having(sa.func.count(loads.c.source.distinct()) > 1)
    )
    return list(tx.connection.execute(query.order_by(loads.c.day)).scalars())


def newest(
    tx: ReadTx, tenant_id: str, table: str, *, first: date = date.min, last: date = date.max
) -> list[Load]:
    """The newest published load of each day and source: together, the proof of a table, or of its
    days from `first` to `last`.
    """
    ranked = _ranked(*_published(tenant_id, table), loads.c.day.between(first, last))
    query = sa.select(loads).join(*ranked).order_by(loads.c.day, loads.c.source)
    return [rows.load(row) for row in tx.connection.execute(query)]


def _ranked(
    *which: sa.ColumnElement[bool],
) -> tuple[sa.Subquery, sa.ColumnElement[bool]]:
    """To be joined: the newest of these loads of each day and source."""
    place = sa.func.row_number().over(
        partition_by=(loads.c.day, loads.c.source), order_by=loads.c.published_at.desc()
    )
    ranked = sa.select(loads.c.load_id, place.label("place")).where(*which).subquery()
    return ranked, sa.and_(ranked.c.load_id == loads.c.load_id, ranked.c.place == 1)


def first_loaded_after(
    tx: ReadTx, tenant_id: str, table: str, moment: datetime
) -> dict[str, list[date]]:
    """Days, by source, of which nothing but samples had been published until the moment."""
    query = (
        sa.select(loads.c.source, loads.c.day)
        .where(*_published(tenant_id, table), loads.c.is_sample.is_(sa.false()))
        .group_by(loads.c.source, loads.c.day)
        .having(sa.func.min(loads.c.published_at) > sa.literal(moment, loads.c.published_at.type))
        .order_by(loads.c.source, loads.c.day)
    )
    found: dict[str, list[date]] = {}
    for row in tx.connection.execute(query):
        found.setdefault(row.source, []).append(row.day)
    return found


def of_run(tx: ReadTx, tenant_id: str, run_id: str, *, limit: int) -> list[Load]:
    """What a run published, by day."""
    query = sa.select(loads).where(
        loads.c.run_id == run_id,
        loads.c.tenant_id == tenant_id,
        loads.c.status == LoadStatus.PUBLISHED.value,
    )
    ordered = query.order_by(loads.c.table_name, loads.c.day, loads.c.source).limit(limit)
    return [rows.load(row) for row in tx.connection.execute(ordered)]


def last_day(
    tx: ReadTx, tenant_id: str, table: str, *, until: datetime | None = None
) -> date | None:
    """The latest day of which rows were published, until a moment or until now."""
    query = sa.select(loads.c.day).where(*_published(tenant_id, table), loads.c.row_count > 0)
    if until is not None:
        query = query.where(loads.c.published_at <= until)
    return tx.connection.execute(query.order_by(loads.c.day.desc()).limit(1)).scalar()


def first_published_at(tx: ReadTx, tenant_id: str, table: str) -> datetime | None:
    """When rows of the table, samples apart, were first published."""
    when = loads.c.published_at
    query = sa.select(when).where(
        *_published(tenant_id, table),
        loads.c.row_count > 0,
        loads.c.is_sample.is_(sa.false()),
        when.is_not(None),
    )
    return tx.connection.execute(query.order_by(when).limit(1)).scalar()


def _published(tenant_id: str, table: str) -> tuple[sa.ColumnElement[bool], ...]:
    is_published = loads.c.status == LoadStatus.PUBLISHED.value
    return loads.c.tenant_id == tenant_id, loads.c.table_name == table, is_published


def staged(tx: ReadTx, tenant_id: str, key: LoadKey, *, with_others: bool = False) -> list[Load]:
    """Loads that a crash left open, oldest first: the warehouse knows if they took effect.

    `with_others`: those of the day's other sources, too.
    """
    is_staged = loads.c.status == LoadStatus.STAGED.value
    its = sa.and_(
        loads.c.tenant_id == tenant_id, loads.c.table_name == key.table, loads.c.day == key.day
    )
    is_its = its if with_others else rows.has_key(loads, tenant_id, key)
    query = sa.select(loads).where(is_its, is_staged)
    found = tx.connection.execute(query.order_by(loads.c.staged_at, loads.c.load_id))
    return [rows.load(row) for row in found]


def left_staged(tx: ReadTx, tenant_id: str, table: str) -> list[Load]:
    """All loads of a table that are STAGED, those under way too."""
    is_staged = loads.c.status == LoadStatus.STAGED.value
    query = sa.select(loads).where(
        loads.c.tenant_id == tenant_id, loads.c.table_name == table, is_staged
    )
    return [rows.load(row) for row in tx.connection.execute(query)]


def left_open(tx: ReadTx, tenant_id: str) -> list[Load]:
    """All loads of a tenant that a crash left open, oldest first."""
    is_open = sa.and_(loads.c.tenant_id == tenant_id, loads.c.status == LoadStatus.STAGED.value)
    found = tx.connection.execute(sa.select(loads).where(is_open).order_by(loads.c.staged_at))
    return [rows.load(row) for row in found]


def _check_lease(tx: WriteTx, load: Load) -> None:
    query = sa.select(load_leases.c.run_id, load_leases.c.attempt).where(
        rows.has_key(load_leases, load.tenant_id, load.key)
    )
    lease = tx.connection.execute(query.with_for_update()).one_or_none()
    if lease is None or tuple(lease) != (load.run_id, load.attempt):
        raise Conflict(
            f"Run {load.run_id} (attempt {load.attempt}) no longer holds {load.key.table} of "
            f"{load.key.day}: another run or attempt loads it",
            code="lease_lost",
        )


def _by_id(tenant_id: str, load_id: str) -> sa.Select[tuple[object, ...]]:
    return sa.select(loads).where(loads.c.load_id == load_id, loads.c.tenant_id == tenant_id)


def _locked(tx: WriteTx, tenant_id: str, load_id: str) -> Load:
    return _found(tx, _by_id(tenant_id, load_id).with_for_update(), load_id)


def _found(tx: ReadTx, query: sa.Select[tuple[object, ...]], load_id: str) -> Load:
    row = tx.connection.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"Load not found: {load_id}", code="load_not_found")
    return rows.load(row)


def _expect(load: Load, *statuses: LoadStatus) -> Load:
    if load.status not in statuses:
        raise Conflict(
            f"Load {load.load_id} is {load.status}", code=f"load_{load.status.value.lower()}"
        )
    return load


def _set(
    tx: WriteTx, load_id: str, status: LoadStatus, *, published_at: datetime | None = None
) -> None:
    change = sa.update(loads).where(loads.c.load_id == load_id)
    tx.write(change.values(status=status.value, published_at=published_at))
