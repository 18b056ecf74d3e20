from dataclasses import replace
from datetime import date, timedelta

import pytest

from convergence.errors import Conflict, NotFound
from convergence.model.load import FileState, LoadKey, LoadStatus, SourceState
from convergence.store import fleet, loads, runs
from convergence.store.database import WriteTx
from tests.store.conftest import NOW, make_load, make_run

LOAD = make_load(
    content_hash="c",
    is_sample=True,
    source_state=SourceState(
        max_export_time=NOW, files=(FileState(path="/e/a.csv", size=3, mtime_ns=4, rows=2),)
    ),
)
KEY = LOAD.key


def take(
    tx: WriteTx,
    run_id: str = "r1",
    attempt: int = 1,
    *,
    tenant_id: str = "acme",
    key: LoadKey = KEY,
    after: float = 0,
) -> bool:
    now = NOW + timedelta(seconds=after)
    return loads.acquire(tx, tenant_id, key, run_id=run_id, attempt=attempt, now=now, seconds=60)


@pytest.fixture
def leased(tx: WriteTx) -> WriteTx:
    """A store where the first attempt of run r1 holds the lease."""
    for name in ("r1", "r2"):
        runs.insert(tx, make_run(name, parameter_hash=name))
    assert take(tx)
    return tx


def published(tx: WriteTx, load_id: str, **after: float) -> None:
    loads.stage(tx, replace(LOAD, load_id=load_id))
    loads.publish(tx, "acme", load_id, now=NOW + timedelta(**after))


def test_a_key_is_held_by_one_run(leased: WriteTx) -> None:
    assert not take(leased, "r2")
    assert not take(leased, "r2", after=59.9)
    assert take(leased, "r2", after=60)
    assert not take(leased, "r1", after=61)


def test_other_tenants_days_and_sources_are_free(leased: WriteTx) -> None:
    assert take(leased, "r2", key=replace(KEY, source="other"))
    assert take(leased, "r2", key=replace(KEY, day=NOW.date()))
    assert take(leased, "r2", key=replace(KEY, table="t"))
    assert take(leased, "r2", tenant_id="other")


def test_a_newer_attempt_of_the_same_run_takes_it_over(leased: WriteTx) -> None:
    assert take(leased, "r1", 2)
    assert not take(leased, "r1", 1)


def test_a_lease_is_released_by_its_run_alone(leased: WriteTx) -> None:
    loads.release(leased, "acme", KEY, run_id="r2")
    assert not take(leased, "r2")
    loads.release(leased, "acme", KEY, run_id="r1")
    assert take(leased, "r2")


def test_a_run_that_is_over_gives_back_all_its_leases(leased: WriteTx) -> None:
    other = replace(KEY, source="other")
    assert take(leased, key=other)
    loads.release_all(leased, "acme", "r1")
    assert fleet.leased_runs(leased) == frozenset()
    assert take(leased, "r2", key=other)


def test_a_run_that_nobody_executes_loses_its_leases(leased: WriteTx) -> None:
    assert take(leased, "r2", key=replace(KEY, source="other"))
    fleet.free_leases(leased, ["r1"])
    assert fleet.leased_runs(leased) == {"r2"}


def test_a_load_is_what_was_staged(leased: WriteTx) -> None:
    loads.stage(leased, LOAD)
    assert loads.get(leased, "acme", "l1") == LOAD
    assert loads.staged(leased, "acme", KEY) == [LOAD]
    assert loads.published(leased, "acme", KEY) is None


def test_only_the_holder_of_the_lease_stages(leased: WriteTx) -> None:
    for load in (replace(LOAD, run_id="r2"), replace(LOAD, attempt=2)):
        with pytest.raises(Conflict) as caught:
            loads.stage(leased, load)
        assert caught.value.code == "lease_lost"
    assert take(leased, "r1", 2)
    with pytest.raises(Conflict):
        loads.stage(leased, LOAD)


def test_staging_again_replaces_the_earlier_try(leased: WriteTx) -> None:
    loads.stage(leased, LOAD)
    loads.discard(leased, "acme", "l1")
    again = replace(LOAD, totals={}, content_hash="d")
    loads.stage(leased, again)
    assert loads.staged(leased, "acme", KEY) == [again]


def test_publishing_is_safe_to_repeat(leased: WriteTx) -> None:
    loads.stage(leased, LOAD)
    first = loads.publish(leased, "acme", "l1", now=NOW)
    assert first == replace(LOAD, status=LoadStatus.PUBLISHED, published_at=NOW)
    assert loads.publish(leased, "acme", "l1", now=NOW + timedelta(hours=1)) == first
    assert loads.published(leased, "acme", KEY) == first
    assert loads.staged(leased, "acme", KEY) == []


def test_what_readers_see_is_neither_staged_again_nor_discarded(leased: WriteTx) -> None:
    published(leased, "l1")
    with pytest.raises(Conflict):
        loads.stage(leased, LOAD)
    with pytest.raises(Conflict) as caught:
        loads.discard(leased, "acme", "l1")
    assert caught.value.code == "load_published"


def test_a_discarded_load_is_not_published(leased: WriteTx) -> None:
    loads.stage(leased, LOAD)
    for _ in range(2):
        loads.discard(leased, "acme", "l1")
    with pytest.raises(Conflict) as caught:
        loads.publish(leased, "acme", "l1", now=NOW)
    assert caught.value.code == "load_discarded"


def test_the_last_to_be_published_is_the_newest_even_when_the_clock_goes_back(
    leased: WriteTx,
) -> None:
    published(leased, "z")
    published(leased, "a", seconds=0)
    published(leased, "m", seconds=-5)
    newest = loads.published(leased, "acme", KEY)
    assert newest is not None
    assert newest.load_id == "m"


def test_what_a_day_was_read_from_is_its_newest_loads_and_not_known_of_a_sample(
    leased: WriteTx,
) -> None:
    def read_from() -> dict[date, SourceState | None]:
        return loads.read_from(leased, "acme", KEY.table, KEY.source)

    published(leased, "sample")
    assert read_from() == {KEY.day: None}
    whole = replace(LOAD, load_id="whole", is_sample=False)
    loads.stage(leased, whole)
    assert read_from() == {KEY.day: None}
    loads.publish(leased, "acme", "whole", now=NOW + timedelta(seconds=1))
    assert read_from() == {KEY.day: LOAD.source_state}
    open_ = replace(whole, load_id="open")
    loads.stage(leased, open_)
    assert read_from() == {KEY.day: None}
    loads.discard(leased, "acme", "open")
    assert read_from() == {KEY.day: LOAD.source_state}


def test_a_neighbours_load_is_like_an_absent_one(leased: WriteTx) -> None:
    loads.stage(leased, LOAD)
    for tenant_id, load_id in (("other", "l1"), ("acme", "l2")):
        with pytest.raises(NotFound) as caught:
            loads.get(leased, tenant_id, load_id)
        assert caught.value.code == "load_not_found"
        with pytest.raises(NotFound):
            loads.publish(leased, tenant_id, load_id, now=NOW)
    assert loads.published(leased, "other", KEY) is None
