"""The processes that execute runs, and when each was last heard of, by the database's own clock."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from convergence.store.column_types import UtcDateTime
from convergence.store.database import ReadTx, WriteTx
from convergence.store.tables import workers

_WORKER = workers.c


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """A worker; `engine` is the version of the walk that it executes."""

    worker: str
    version: str
    started_at: datetime
    seen_at: datetime
    engine: str


def moment(tx: ReadTx) -> datetime:
    """The database's time: one clock for all processes, whatever their machines say."""
    return tx.connection.execute(sa.select(_now(tx))).scalar_one()


def enlist(tx: WriteTx, worker: str, *, version: str, engine: str) -> None:
    """A worker begins; its name was never used before."""
    values = {"worker": worker, "version": version, "engine": engine}
    statement = sa.insert(workers).values(**values, started_at=_now(tx), seen_at=_now(tx))
    tx.connection.execute(statement)


def beat(tx: WriteTx, worker: str, *, lease: timedelta | None) -> bool:
    """A sign of life. False when the lease since the last one is over: the worker's runs may be
    another's by now. `lease` None has no end.
    """
    change = sa.update(workers).where(_WORKER.worker == worker).values(seen_at=_now(tx))
    if lease is not None:
        change = change.where(_WORKER.seen_at > moment(tx) - lease)
    return tx.write(change) > 0


def retire(tx: WriteTx, worker: str) -> None:
    """A worker has ended in good order."""
    tx.write(sa.delete(workers).where(_WORKER.worker == worker))


def bury(tx: WriteTx, lease: timedelta, *, but: str) -> None:
    """Forget the workers whose lease is over: from now on their signs of life are refused."""
    is_dead = sa.and_(_WORKER.seen_at <= moment(tx) - lease, _WORKER.worker != but)
    tx.write(sa.delete(workers).where(is_dead))


def living(tx: ReadTx, lease: timedelta) -> list[WorkerRow]:
    """Those whose lease runs, the latest heard of first."""
    query = sa.select(workers).where(_WORKER.seen_at > moment(tx) - lease)
    ordered = query.order_by(_WORKER.seen_at.desc(), _WORKER.worker)
    return [WorkerRow(**row._mapping) for row in tx.connection.execute(ordered)]


def clock(tx: ReadTx) -> datetime:
    """The time of the database: the one by which leases run."""
    found: datetime = tx.connection.execute(sa.select(_now(tx))).scalar_one()
    return found


def _now(tx: ReadTx) -> sa.ColumnElement[datetime]:
    if tx.dialect == "sqlite":
        return sa.type_coerce(sa.func.strftime("%Y-%m-%d %H:%M:%f000", "now"), UtcDateTime)
    return sa.type_coerce(sa.func.clock_timestamp(), UtcDateTime)
