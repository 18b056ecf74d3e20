"""Days whose newest load failed: they lack rows until one is published."""

from collections.abc import Mapping, Set
from datetime import date, datetime

import sqlalchemy as sa

from convergence.model.load import NO_SOURCE, IncompleteDay, LoadKey
from convergence.store import rows
from convergence.store.database import ReadTx, WriteTx, insert_into
from convergence.store.tables import incomplete_days, source_grants

_COLUMNS = incomplete_days.c


def note(
    tx: WriteTx, tenant_id: str, key: LoadKey, *, run_id: str, code: str, now: datetime
) -> None:
    """A load of the day failed. What is known of it already stays, but for the newest run."""
    newest = {"run_id": run_id, "code": code}
    statement = insert_into(incomplete_days, tx.dialect).values(
        tenant_id=tenant_id, **rows.key_values(key), **newest, since=now
    )
    names = ["tenant_id", "table_name", "day", "source"]
    tx.write(statement.on_conflict_do_update(index_elements=names, set_=newest))


def clear(tx: WriteTx, tenant_id: str, key: LoadKey) -> None:
    """The day has all the rows of the source."""
    tx.write(sa.delete(incomplete_days).where(rows.has_key(incomplete_days, tenant_id, key)))


def settle(  # noqa: PLR0913 - of what, found by which run and when, all by name
    tx: WriteTx,
    tenant_id: str,
    table: str,
    source: str,
    *,
    failed: Mapping[date, str],
    left_out: Set[date],
    run_id: str,
    now: datetime,
) -> None:
    """All of the source was looked at: these days failed, with their codes, and nothing is known
    of those left out.
    """
    tx.write(
        sa.delete(incomplete_days).where(
            _COLUMNS.tenant_id == tenant_id,
            _COLUMNS.table_name == table,
            _COLUMNS.source == source,
            _COLUMNS.day.not_in(failed.keys() | left_out),
        )
    )
    for day, code in sorted(failed.items()):
        key = LoadKey(table=table, day=day, source=source)
        note(tx, tenant_id, key, run_id=run_id, code=code, now=now)


def find(
    tx: ReadTx, tenant_id: str, table: str, *, until: datetime | None = None
) -> list[IncompleteDay]:
    """All that still are, since a moment at the latest; of sources that the tenant may read."""
    granted = sa.select(source_grants.c.table_name).where(source_grants.c.tenant_id == tenant_id)
    query = sa.select(incomplete_days).where(
        _COLUMNS.tenant_id == tenant_id,
        _COLUMNS.table_name == table,
        _COLUMNS.source.in_(granted) | (_COLUMNS.source == NO_SOURCE),
    )
    if until is not None:
        query = query.where(_COLUMNS.since <= until)
    found = tx.connection.execute(query.order_by(_COLUMNS.day, _COLUMNS.source))
    return [
        IncompleteDay(
            day=None if row.day == IncompleteDay.EVERY_DAY else row.day,
            source=row.source,
            run_id=row.run_id,
            code=row.code,
            since=row.since,
        )
        for row in found
    ]
