from dataclasses import replace
from datetime import timedelta
from threading import Barrier, Thread

import pytest

from convergence.model.event import Event, EventKind, Level, at_least
from convergence.model.run import Run, Status, StepRun
from convergence.store import events, fleet, runs
from convergence.store.database import Database, WriteTx
from tests.store.conftest import NOW, add_tenant, make_run

LATER = NOW + timedelta(seconds=3)
LINE = Event(
    run_id="r1",
    tenant_id="acme",
    at=NOW,
    kind=EventKind.LOG,
    level=Level.INFO,
    message="file read",
    step_id="extract",
    facts={"path": "ä.csv", "rows": 5, "deep": {"list": [1, None]}},
)
STEP = StepRun(
    run_id="r1",
    tenant_id="acme",
    step_id="extract",
    name="Extract",
    ps_type="gcp.bq_etl",
    index=0,
    status=Status.RUNNING,
    attempt=1,
    started_at=NOW,
)


@pytest.fixture
def run(tx: WriteTx) -> Run:
    runs.insert(tx, make_run())
    return make_run()


def claim(tx: WriteTx, worker: str = "w1") -> None:
    assert runs.claim(tx, "acme", "r1", worker=worker, now=NOW) is not None


def told(tx: WriteTx, run_id: str = "r1") -> list[str]:
    return [event.message for event in events.page(tx, "acme", run_id, limit=99)]


def test_a_run_tells_each_change_of_its_status(tx: WriteTx, run: Run) -> None:
    claim(tx)
    claim(tx, "w2")
    runs.finish(
        tx,
        "acme",
        "r1",
        attempt=2,
        status=Status.FAILED,
        now=LATER,
        error_code="step_failed",
        error="extract: no file",
    )
    found = events.page(tx, "acme", "r1", limit=99)
    assert [(each.sequence, each.status, each.level, each.message) for each in found] == [
        (1, Status.PENDING, Level.INFO, "run accepted"),
        (2, Status.RUNNING, Level.INFO, "run started"),
        (3, Status.RUNNING, Level.INFO, "run taken over, attempt 2"),
        (4, Status.FAILED, Level.ERROR, "run failed: extract: no file"),
    ]
    assert [each.ends_run for each in found] == [False, False, False, True]
    assert found[2].facts == {"attempt": 2, "worker": "w2"}
    assert found[3].facts["duration_ms"] == 3000
    assert found[3].at == LATER


def test_what_changes_nothing_tells_nothing(tx: WriteTx, run: Run) -> None:
    claim(tx)
    claim(tx, "w2")
    before = told(tx)
    assert runs.finish(tx, "acme", "r1", attempt=1, status=Status.COMPLETED, now=NOW) is None
    assert not runs.save_step(tx, STEP)
    assert told(tx) == before


def test_a_step_tells_how_it_goes(tx: WriteTx, run: Run) -> None:
    claim(tx)
    runs.save_step(tx, STEP)
    runs.save_step(tx, replace(STEP, status=Status.COMPLETED, rows=7, ended_at=LATER))
    runs.save_step(tx, replace(STEP, step_id="mail", status=Status.SKIPPED, ended_at=LATER))
    assert told(tx)[2:] == ["extract started", "extract completed, 7 rows", "mail skipped"]
    last = events.page(tx, "acme", "r1", after=3, limit=1)[0]
    assert (last.step_id, last.status, last.at) == ("extract", Status.COMPLETED, LATER)
    assert last.facts == {"attempt": 1, "rows": 7, "duration_ms": 3000}


def test_a_cancel_is_told_once(tx: WriteTx, run: Run) -> None:
    for _ in range(2):
        runs.request_cancel(tx, "acme", "r1", now=NOW)
    assert told(tx) == ["run accepted", "cancel requested"]


def test_a_run_tells_that_its_worker_is_gone(tx: WriteTx, run: Run) -> None:
    assert runs.revoke(tx, "acme", "r1", now=NOW) is None
    claim(tx)
    assert runs.revoke(tx, "acme", "r1", now=LATER) is not None
    claim(tx, "w2")
    gone = "its worker is gone, another will take it over"
    assert told(tx)[1:] == ["run started", gone, "run taken over, attempt 2"]


def test_an_event_is_what_was_written(tx: WriteTx, run: Run) -> None:
    events.append(tx, LINE)
    found = events.page(tx, "acme", "r1", after=1, limit=9)
    assert found == [replace(LINE, sequence=2, position=found[0].position)]


def test_events_are_read_in_parts_and_by_level(tx: WriteTx, run: Run) -> None:
    for level in Level:
        events.append(tx, replace(LINE, level=level, message=level.value))
    part = events.page(tx, "acme", "r1", after=2, limit=2)
    assert [event.sequence for event in part] == [3, 4]
    chosen = events.page(tx, "acme", "r1", levels=at_least(Level.WARNING), limit=9)
    assert [event.message for event in chosen] == ["WARNING", "ERROR"]


def test_a_neighbours_events_are_like_absent_ones(tx: WriteTx, run: Run) -> None:
    assert events.page(tx, "other", "r1", limit=9) == []
    assert events.page(tx, "acme", "r2", limit=9) == []


def test_events_vanish_with_the_change_they_tell_of(database: Database) -> None:
    with database.write() as tx:
        add_tenant(tx, "acme")
        runs.insert(tx, make_run())
    with database.write() as tx:
        claim(tx)
        tx.connection.rollback()
    with database.write() as tx:
        claim(tx)
    with database.read() as tx:
        assert [event.sequence for event in events.page(tx, "acme", "r1", limit=9)] == [1, 2]


def test_many_writers_of_one_run_leave_no_hole(database: Database) -> None:
    with database.write() as tx:
        add_tenant(tx, "acme")
        runs.insert(tx, make_run())
        claim(tx)
    together = Barrier(8)

    def write() -> None:
        together.wait()
        for _ in range(10):
            with database.write() as tx:
                assert runs.hold(tx, "acme", "r1", attempt=1)
                events.append(tx, LINE)

    threads = [Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as after:
        found = events.page(after, "acme", "r1", limit=999)
    assert [event.sequence for event in found] == list(range(1, 83))


def test_who_goes_on_from_a_position_misses_nothing(database: Database) -> None:
    with database.write() as tx:
        add_tenant(tx, "acme")
        for number in range(3):
            runs.insert(tx, make_run(f"r{number}", parameter_hash=str(number)))
    with database.read() as before:
        position = fleet.event_position(before)
        assert fleet.events_since(before, position, limit=9) == []
    with database.write() as tx:
        claim(tx)
    with database.read() as after:
        assert [event.run_id for event in fleet.events_since(after, position, limit=9)] == ["r1"]
        everything = fleet.events_since(after, 0, limit=9)
        assert {event.run_id for event in everything} == {"r0", "r1", "r2"}
        last = everything[1]
        rest = fleet.events_since(
            after, 0, after=(last.position, last.run_id, last.sequence), limit=9
        )
        assert rest == everything[2:]


@pytest.mark.postgres
@pytest.mark.parametrize("backend", ["postgres"])
def test_a_commit_that_comes_late_is_not_missed(database: Database) -> None:
    with database.write() as tx:
        add_tenant(tx, "acme")
        runs.insert(tx, make_run("r1"))
        runs.insert(tx, make_run("r2", parameter_hash="2"))
    with database.write() as slow:
        claim(slow)
        with database.write() as tx:
            runs.claim(tx, "acme", "r2", worker="w", now=NOW)
        with database.read() as before:
            seen = fleet.events_since(before, 0, limit=9)
            position = fleet.event_position(before)
        assert {event.run_id for event in seen if event.sequence == 2} == {"r2"}
    with database.read() as after:
        later = fleet.events_since(after, position, limit=9)
    assert "r1" in {event.run_id for event in later if event.sequence == 2}
