"""What happened in a run, in order: written in the transaction of the change it tells of.

An event's sequence is right because its writer holds the row of its run: by having inserted or
changed it, or by `runs.hold`. A sequence of the database would not do: it does not commit in
order.
"""

from functools import cache

import sqlalchemy as sa

from convergence.model.event import Event, Level
from convergence.store import rows
from convergence.store.database import ReadTx, WriteTx
from convergence.store.tables import events

_EVENTS = events.c
_OF_RUN = sa.bindparam("of_run", type_=sa.String())
_NEXT = (
    sa.select(sa.func.coalesce(sa.func.max(_EVENTS.sequence), 0) + 1)
    .where(_EVENTS.run_id == _OF_RUN)
    .scalar_subquery()
)
_READ = (
    sa.select(events)
    .where(
        _EVENTS.run_id == _OF_RUN,
        _EVENTS.tenant_id == sa.bindparam("of_tenant"),
        _EVENTS.sequence > sa.bindparam("after"),
    )
    .order_by(_EVENTS.sequence)
    .limit(sa.bindparam("most", type_=sa.Integer()))
)
_READ_LEVELS = _READ.where(_EVENTS.level.in_(sa.bindparam("levels", expanding=True)))


def first(tx: WriteTx, event: Event) -> None:
    """Write the first event of a run that this transaction inserted."""
    values = rows.event_values(event)
    tx.connection.execute(_insert(tx.dialect), {**values, "sequence": 1})


def append(tx: WriteTx, event: Event, *more: Event) -> None:
    """Write the run's next events. This transaction holds the row of the run."""
    values = [{**rows.event_values(each), "of_run": each.run_id} for each in (event, *more)]
    tx.connection.execute(_append(tx.dialect), values)


def page(
    tx: ReadTx,
    tenant_id: str,
    run_id: str,
    *,
    after: int = 0,
    levels: frozenset[Level] = frozenset(),
    limit: int,
) -> list[Event]:
    """The run's events with a sequence above `after`, in order; of `levels`, or of all."""
    values = {"of_run": run_id, "of_tenant": tenant_id, "after": after, "most": limit}
    if not levels:
        return [rows.event(row) for row in tx.connection.execute(_READ, values)]
    chosen = values | {"levels": [level.value for level in levels]}
    return [rows.event(row) for row in tx.connection.execute(_READ_LEVELS, chosen)]


@cache
def _insert(dialect: str) -> sa.Insert:
    return sa.insert(events).values(position=_position(dialect))


@cache
def _append(dialect: str) -> sa.Insert:
    return sa.insert(events).values(position=_position(dialect), sequence=_NEXT)


def _position(dialect: str) -> sa.ColumnElement[int]:
    """SQLite commits one transaction after the other. On PostgreSQL it is the transaction's id:
    a snapshot knows which of those are over.
    """
    if dialect == "sqlite":
        newest = sa.select(sa.func.coalesce(sa.func.max(_EVENTS.position), 0) + 1)
        return newest.scalar_subquery()
    return sa.cast(sa.cast(sa.func.pg_current_xact_id(), sa.Text), sa.BigInteger)
