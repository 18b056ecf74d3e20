"""Threads against one store: what must hold however they interleave."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal

import pytest
import sqlalchemy as sa

from convergence.errors import Conflict, QuotaExceeded, Unavailable
from convergence.model.quota import check_quota
from convergence.model.run import RunFilter, Status
from convergence.model.tenant import PLAN_LIMITS, Limits, Plan
from convergence.store import fleet, loads, migrate, runs, tenants, usage
from convergence.store.database import Database, WriteTx
from convergence.store.tables import REVISION
from tests.store.conftest import DAY, NOW, add_tenant, make_load, make_run

THREADS = 16


def at_once(times: int, act: Callable[[int], object]) -> list[object]:
    """What each of `times` calls gave, or the error it raised."""
    start = threading.Barrier(THREADS)

    def go(number: int) -> object:
        if number < THREADS:
            start.wait()
        try:
            return act(number)
        except (Conflict, QuotaExceeded) as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(go, range(times)))


def admit(database: Database, number: int, limits: Limits) -> str:
    with database.write() as tx:
        tenants.lock(tx, "acme")
        before = usage.use(tx, "acme", DAY)
        check_quota(limits, before)
        run = make_run(f"r{number}", parameter_hash=str(number))
        runs.insert(tx, run)
        usage.record_admission(tx, "acme", before, limits, now=NOW)
    return run.run_id


@pytest.fixture
def store(database: Database) -> Database:
    with database.write() as tx:
        add_tenant(tx, "acme")
    return database


@pytest.mark.parametrize("name", ["daily_limit", "monthly_limit", "concurrent_limit"])
def test_a_limit_is_never_passed_by_one_run(store: Database, name: str) -> None:
    limits = replace(replace(PLAN_LIMITS[Plan.SCALE], concurrent_limit=99), **{name: 7})
    results = at_once(80, lambda number: admit(store, number, limits))
    assert sum(isinstance(result, str) for result in results) == 7
    with store.read() as tx:
        row = usage.row(tx, "acme", DAY)
        assert row is not None
        assert (row.pipelines_run_today, row.max_concurrent_reached) == (7, 7)
        assert len(fleet.live_runs(tx)) == 7


def test_slots_come_back_however_runs_end_together(store: Database) -> None:
    limits = replace(PLAN_LIMITS[Plan.SCALE], concurrent_limit=99)

    def live_and_die(number: int) -> None:
        run_id = admit(store, number, limits)
        with store.write() as tx:
            assert runs.claim(tx, "acme", run_id, worker="w", now=NOW)
        with store.write() as tx:
            tenants.hold(tx, "acme")
            assert runs.finish(tx, "acme", run_id, attempt=1, status=Status.COMPLETED, now=NOW)
            usage.record_finish(tx, "acme", DAY, Status.COMPLETED, now=NOW)

    assert not any(at_once(64, live_and_die))
    with store.read() as tx:
        row = usage.row(tx, "acme", DAY)
        assert row is not None
        assert (row.concurrent_pipelines_running, row.pipelines_succeeded_today) == (0, 64)


def test_a_thousand_equal_runs_give_one_live_run(store: Database) -> None:
    def insert(number: int) -> str:
        with store.write() as tx:
            runs.insert(tx, make_run(f"r{number}"))
        return f"r{number}"

    results = at_once(1000, insert)
    with store.read() as tx:
        (live,) = runs.page(tx, "acme", RunFilter(), limit=9, before=None)
    assert [result for result in results if isinstance(result, str)] == [live.run_id]


@pytest.mark.parametrize(
    "backend", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
@pytest.mark.parametrize(
    "act",
    [
        lambda tx: usage.add_api_calls(tx, "acme", DAY, 1, now=NOW),
        lambda tx: usage.set_storage(tx, "acme", DAY, Decimal(1), now=NOW),
        lambda tx: tenants.set_limits(tx, "acme", PLAN_LIMITS[Plan.SCALE], now=NOW),
    ],
)
def test_all_who_write_usage_wait_for_the_tenant(
    store: Database, act: Callable[[WriteTx], object]
) -> None:
    """Taken in another order, the rows of two writers would wait for one another."""

    def act_in_haste() -> None:
        with store.write() as tx:
            tx.connection.execute(sa.text("SET LOCAL lock_timeout = '20ms'"))
            act(tx)

    with store.write() as holder:
        tenants.lock(holder, "acme")
        with pytest.raises(Unavailable, match="lock timeout"):
            act_in_haste()


def test_one_of_many_ends_a_run(store: Database) -> None:
    admit(store, 1, PLAN_LIMITS[Plan.SCALE])

    def finish(number: int) -> bool:
        status = (Status.FAILED, Status.CANCELLED)[number % 2]
        with store.write() as tx:
            return runs.finish(tx, "acme", "r1", attempt=0, status=status, now=NOW) is not None

    assert at_once(THREADS, finish).count(True) == 1


def test_one_of_many_takes_a_lease(store: Database) -> None:
    def take(number: int) -> bool:
        with store.write() as tx:
            return loads.acquire(
                tx, "acme", make_load().key, run_id=f"r{number}", attempt=1, now=NOW, seconds=60
            )

    assert at_once(THREADS, take).count(True) == 1


def test_each_claim_has_an_attempt_of_its_own(store: Database) -> None:
    admit(store, 1, PLAN_LIMITS[Plan.SCALE])

    def claim(number: int) -> int:
        with store.write() as tx:
            run = runs.claim(tx, "acme", "r1", worker=f"w{number}", now=NOW)
            assert run is not None
            return run.attempt

    assert sorted(map(str, at_once(THREADS, claim)), key=int) == [
        str(attempt) for attempt in range(1, THREADS + 1)
    ]


def test_migrations_started_together_run_once(empty_url: str) -> None:
    databases = [Database(empty_url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(migrate.upgrade, databases))
    *others, whole = sorted(applied)
    assert others == [[], [], []]
    assert whole[-1] == REVISION
    for database in databases:
        database.close()
