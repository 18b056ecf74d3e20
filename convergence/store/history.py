"""What is over and old, of all tenants: found and deleted in batches. For `engine/forget.py`."""

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa

from convergence.store import tables as t
from convergence.store.database import ReadTx, WriteTx

WINDOW = 5000
"""Events looked through at once, from the oldest on: a search never reads the whole table."""

_RUNS = t.pipeline_runs.c
_HAS_ENDED = sa.and_(~t.IS_LIVE, _RUNS.ended_at < sa.bindparam("before", type_=_RUNS.ended_at.type))


def forget_events(tx: WriteTx, *, before: datetime, limit: int) -> int:
    """Delete all events of some runs that ended before then; of how many runs."""
    old = (
        sa.select(t.events.c.run_id, t.events.c.at).order_by(t.events.c.position).limit(WINDOW)
    ).subquery()
    # The newest event stays: positions go on from it.
    newest = sa.select(t.events.c.run_id).order_by(t.events.c.position.desc()).limit(1)
    query = (
        sa.select(old.c.run_id)
        .distinct()
        .join(t.pipeline_runs, _RUNS.run_id == old.c.run_id)
        .where(old.c.at < before, _HAS_ENDED, old.c.run_id != newest.scalar_subquery())
        .limit(limit)
    )
    found = list(tx.connection.execute(query, {"before": before}).scalars())
    tx.write(sa.delete(t.events).where(t.events.c.run_id.in_(found)))
    return len(found)


def forget_runs(tx: WriteTx, *, before: datetime, limit: int) -> int:
    """Delete some runs that ended before then, with their steps and events; how many.

    A run that something refers to stays: what it loaded, and what it restated, leads to it. So
    does one whose copies are still to be published.
    """
    newest = sa.select(t.events.c.run_id).order_by(t.events.c.position.desc()).limit(1)
    query = (
        sa.select(_RUNS.run_id)
        .where(
            _RUNS.created_at < before,
            _HAS_ENDED,
            *(~sa.exists().where(column == _RUNS.run_id) for column in _REFERRING),
            _RUNS.run_id.is_distinct_from(newest.scalar_subquery()),
        )
        .order_by(_RUNS.created_at, _RUNS.run_id)
        .limit(limit)
    )
    found = list(tx.connection.execute(query, {"before": before}).scalars())
    for column in (*_OWNED, _RUNS.run_id):
        tx.write(sa.delete(column.table).where(column.in_(found)))
    return len(found)


def forget_replies(tx: WriteTx, *, before: datetime, limit: int) -> int:
    """Delete some answers whose keys were taken before then; how many."""
    keys = t.idempotency_keys
    query = sa.select(*keys.primary_key).where(keys.c.taken_at <= before).limit(limit)
    return tx.write(sa.delete(keys).where(sa.tuple_(*keys.primary_key).in_(query)))


def forget_notifications(tx: WriteTx, *, before: datetime, limit: int) -> int:
    """Delete some that were written before then, and sent or given up; how many."""
    table = t.outbox.c
    old = sa.select(table.notification_id).where(~t.IS_WAITING, table.created_at < before)
    return tx.write(sa.delete(t.outbox).where(table.notification_id.in_(old.limit(limit))))


def live_among(tx: ReadTx, run_ids: Collection[str]) -> frozenset[str]:
    """Which of these runs are PENDING or RUNNING."""
    query = sa.select(_RUNS.run_id).where(t.IS_LIVE, _RUNS.run_id.in_(run_ids))
    return frozenset(tx.connection.execute(query).scalars())


_OWNED = (t.step_logs.c.run_id, t.dq_results.c.run_id, t.events.c.run_id)
_REFERRING = (
    *(
        key.parent
        for table in t.metadata.tables.values()
        for key in table.foreign_keys
        if key.column is _RUNS.run_id and table not in {t.step_logs, t.dq_results}
    ),
    t.ledger_dirty.c.run_id,
)
"""The columns that lead to a run, besides those that vanish with it."""
