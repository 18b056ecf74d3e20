"""Workers and their leases, by the clock of the database."""

from datetime import timedelta

import sqlalchemy as sa

from convergence.store import workers
from convergence.store.database import Database, WriteTx
from convergence.store.tables import workers as table

LEASE = timedelta(seconds=20)


def test_a_worker_lives_as_long_as_it_is_heard_of(tx: WriteTx) -> None:
    enlist(tx, "old", seconds_ago=21)
    enlist(tx, "new", seconds_ago=19)
    assert [row.worker for row in workers.living(tx, LEASE)] == ["new"]


def test_a_sign_of_life_within_the_lease_renews_it(tx: WriteTx) -> None:
    enlist(tx, "w", seconds_ago=19)
    assert workers.beat(tx, "w", lease=LEASE)
    (row,) = workers.living(tx, timedelta(seconds=5))
    assert (row.worker, row.version, row.engine) == ("w", "1", "engine-1")


def test_a_sign_of_life_after_the_lease_is_refused(tx: WriteTx) -> None:
    enlist(tx, "w", seconds_ago=21)
    assert not workers.beat(tx, "w", lease=LEASE)
    assert workers.living(tx, LEASE) == []


def test_a_lease_without_an_end_is_always_renewed(tx: WriteTx) -> None:
    enlist(tx, "w", seconds_ago=10**6)
    assert workers.beat(tx, "w", lease=None)


def test_a_buried_worker_is_not_heard_of_again(tx: WriteTx) -> None:
    for name in ("me", "dead"):
        enlist(tx, name, seconds_ago=21)
    enlist(tx, "alive", seconds_ago=1)
    workers.bury(tx, LEASE, but="me")
    assert not workers.beat(tx, "dead", lease=None)
    assert [workers.beat(tx, name, lease=None) for name in ("me", "alive")] == [True, True]


def test_a_retired_worker_is_gone(tx: WriteTx) -> None:
    enlist(tx, "w", seconds_ago=0)
    workers.retire(tx, "w")
    assert workers.living(tx, LEASE) == []


def test_one_at_a_time_is_alone(database: Database) -> None:
    with database.alone("sweep") as first:
        assert first
        if not database.is_sqlite:
            with database.alone("sweep") as second, database.alone("other") as other:
                assert (second, other) == (False, True)
    with database.alone("sweep") as again:
        assert again


def enlist(tx: WriteTx, name: str, *, seconds_ago: float) -> None:
    workers.enlist(tx, name, version="1", engine="engine-1")
    seen = workers.moment(tx) - timedelta(seconds=seconds_ago)
    tx.connection.execute(sa.update(table).where(table.c.worker == name).values(seen_at=seen))
