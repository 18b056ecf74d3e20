"""What is over and old is deleted, and nothing else."""

from datetime import timedelta

import pytest

from convergence.errors import NotFound
from convergence.model.notification import Notification
from convergence.model.run import RunFilter, Status, StepRun
from convergence.store import events, fleet, history, loads, notifications, runs
from convergence.store.database import WriteTx
from tests.store.conftest import NOW, make_load, make_run

OLD = NOW - timedelta(days=100)
CUTOFF = NOW - timedelta(days=90)


def ended(tx: WriteTx, run_id: str, *, days_ago: int = 100, is_published: bool = True) -> None:
    """A run with a step, over so many days ago; its copies are published, or wait for it."""
    at = NOW - timedelta(days=days_ago)
    runs.insert(tx, make_run(run_id, created_at=at, parameter_hash=run_id))
    runs.claim(tx, "acme", run_id, worker="w", now=at)
    step = StepRun(
        run_id=run_id,
        tenant_id="acme",
        step_id="extract",
        name="Extract",
        ps_type="gcp.bq_etl",
        index=0,
        status=Status.COMPLETED,
        attempt=1,
        started_at=at,
        ended_at=at,
    )
    runs.save_step(tx, step)
    runs.finish(tx, "acme", run_id, attempt=1, status=Status.COMPLETED, now=at)
    if is_published:
        fleet.clean(tx, fleet.dirty(tx, 1000))


def live(tx: WriteTx, run_id: str = "live") -> None:
    """One that was accepted long ago, and is under way."""
    runs.insert(tx, make_run(run_id, created_at=OLD, parameter_hash=run_id))
    runs.claim(tx, "acme", run_id, worker="w", now=OLD)


def with_events(tx: WriteTx, *run_ids: str) -> set[str]:
    return {run_id for run_id in run_ids if events.page(tx, "acme", run_id, limit=1)}


def known(tx: WriteTx) -> set[str]:
    return {run.run_id for run in runs.page(tx, "acme", RunFilter(), limit=99, before=None)}


def test_events_of_old_runs_are_deleted_and_the_runs_stay(tx: WriteTx) -> None:
    ended(tx, "old")
    live(tx)
    ended(tx, "new", days_ago=1)
    assert history.forget_events(tx, before=CUTOFF, limit=9) == 1
    assert history.forget_events(tx, before=CUTOFF, limit=9) == 0
    assert with_events(tx, "old", "live", "new") == {"live", "new"}
    assert known(tx) == {"old", "live", "new"}


def test_events_go_in_batches(tx: WriteTx) -> None:
    for number in range(5):
        ended(tx, f"r{number}")
    live(tx)
    counts = [history.forget_events(tx, before=CUTOFF, limit=2) for _ in range(4)]
    assert counts == [2, 2, 1, 0]


def test_the_newest_event_stays_so_that_positions_go_on(tx: WriteTx) -> None:
    ended(tx, "old")
    position = fleet.event_position(tx)
    assert history.forget_events(tx, before=CUTOFF, limit=9) == 0
    assert fleet.event_position(tx) == position


def test_old_runs_that_loaded_nothing_are_deleted_whole(tx: WriteTx) -> None:
    ended(tx, "old")
    ended(tx, "loaded")
    load = make_load(run_id="loaded")
    assert loads.acquire(tx, "acme", load.key, run_id="loaded", attempt=1, now=NOW, seconds=9)
    loads.stage(tx, load)
    ended(tx, "waits", is_published=False)
    live(tx)
    ended(tx, "new", days_ago=1, is_published=False)
    assert history.forget_runs(tx, before=CUTOFF, limit=9) == 1
    assert known(tx) == {"loaded", "waits", "live", "new"}
    assert runs.steps(tx, "acme", "old") == []
    assert with_events(tx, "old", "loaded") == {"loaded"}
    with pytest.raises(NotFound):
        runs.get(tx, "acme", "old")


def test_live_ones_are_told_apart(tx: WriteTx) -> None:
    ended(tx, "old")
    live(tx)
    assert history.live_among(tx, ["old", "live", "nobody"]) == {"live"}


def test_notifications_that_wait_or_are_new_stay(tx: WriteTx) -> None:
    for id_, at, is_over in (("old", OLD, True), ("waits", OLD, False), ("new", NOW, True)):
        told = Notification(
            notification_id=id_, tenant_id="acme", subject="s", text="t", created_at=at
        )
        notifications.add(tx, told)
        if is_over:
            notifications.close(tx, "acme", id_, sent_at=at)
    assert history.forget_notifications(tx, before=CUTOFF, limit=10) == 1
    left = notifications.newest(tx, "acme", limit=10)
    assert {each.notification_id for each in left} == {"waits", "new"}
