"""A table that is written anew where many processes load: none of them publishes meanwhile."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from threading import Event
from time import sleep

import pytest

from convergence.engine import costs, hold, load, migrate, watch
from convergence.engine.at_schema import State
from convergence.engine.onboard import Onboarded
from convergence.engine.service import Service
from convergence.errors import Conflict
from convergence.model.load import LoadKey
from convergence.model.run import Run, Status
from convergence.model.table import TableSchema
from convergence.model.tenant import WarehouseKind
from convergence.settings.fields import Settings
from convergence.store import loads, moves
from convergence.wiring import build
from tests.conftest import HEADER, export_line, grant_export
from tests.engine.test_migrate import harm
from tests.engine.test_sync import facts, run_sync
from tests.fakes import FakeClock

BILL = "SELECT ingestion_date, cost FROM billing_cost_daily"
LOOSE = "ALTER TABLE billing_cost_daily ALTER COLUMN ingestion_date DROP NOT NULL"


@pytest.fixture
def shared(service: Service, tenant: Onboarded, tmp_path: Path) -> Iterator[Service]:
    """A tenant with a day to load, whose bill must be written anew; others may load beside us."""
    service.close()
    harm(service.home.path, "acme", LOOSE)
    again = build(Settings(home=service.home.path))
    again.clock = FakeClock()
    again.config = replace(again.config, warehouse=WarehouseKind.BIGQUERY)
    with again.database.write() as tx:
        moves.move(tx, "acme", WarehouseKind.BIGQUERY, now=again.clock.now())
    (tmp_path / "a.csv").write_text(f"{HEADER}\n{export_line('2024-11-01', '1.5', '', '202411')}\n")
    grant_export(again, tmp_path / "*.csv", "acme")
    yield again
    again.close()


def test_a_load_that_begins_meanwhile_waits(
    shared: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, begun, evolve = Event(), list[Future[Run]](), shared.warehouse.evolve

    def pause(seconds: float) -> None:
        waits.set()
        sleep(seconds)

    def rewrite(dataset: str, schema: TableSchema, **how: bool) -> Sequence[str]:
        begun.append(pool.submit(run_sync, shared))
        assert waits.wait(60)
        return evolve(dataset, schema, **how)

    for room in (load, watch):
        # For a worker of the release before nothing differs.
        monkeypatch.setattr(room, "check_tables", lambda *_: None)
    monkeypatch.setattr(hold, "sleep", pause)
    monkeypatch.setattr(shared.warehouse, "evolve", rewrite)
    with ThreadPoolExecutor(1) as pool:
        found = migrate.bring(shared, "acme", approved=True)
        run = begun[0].result()
    assert {state.state for state in found} == {State.CURRENT}
    assert (run.status, costs.query(shared, "acme", BILL).rows[0][0]) == (
        Status.COMPLETED,
        date(2024, 11, 1),
    )


def test_a_table_that_is_loaded_is_not_written_anew(shared: Service) -> None:
    key = LoadKey(table="billing_cost_daily", day=date(2024, 11, 1), source="a.b.c")
    now = shared.clock.now()
    with shared.database.write() as tx:
        loads.acquire(tx, "acme", key, run_id="other", attempt=1, now=now, seconds=60)
    refused = migrate.bring(shared, "acme", approved=True)
    (told,) = [state for state in refused if state.state is State.FAILED]
    assert (told.table, told.error) == (
        "billing_cost_daily",
        "a run loads billing_cost_daily of acme",
    )
    shared.clock = FakeClock(now + timedelta(seconds=61))
    assert {state.state for state in migrate.bring(shared, "acme", approved=True)} == {
        State.CURRENT
    }


def test_a_rewriting_that_was_killed_holds_its_table_for_two_minutes(shared: Service) -> None:
    now = shared.clock.now()
    key = LoadKey(table="billing_cost_daily", day=hold.EVERY_DAY, source=hold.EVERY_SOURCE)
    with shared.database.write() as tx:
        loads.acquire(
            tx, "acme", key, run_id="gone", attempt=0, now=now, seconds=hold.REWRITE_SECONDS
        )
    refused = migrate.bring(shared, "acme", approved=True)
    (told,) = [state for state in refused if state.state is State.FAILED]
    assert "one that was killed lets go within 120 seconds" in told.hint
    shared.clock = FakeClock(now + timedelta(seconds=121))
    assert {state.state for state in migrate.bring(shared, "acme", approved=True)} == {
        State.CURRENT
    }


def test_a_table_is_held_for_as_long_as_it_is_written_anew(
    shared: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hold, "RENEW_SECONDS", 0.01)
    now = shared.clock.now()
    late = now + timedelta(seconds=hold.REWRITE_SECONDS + 30)

    def is_held() -> bool:
        with shared.database.read() as tx:
            return bool(loads.held_days(tx, "acme", "billing_cost_daily", now=late))

    with hold.hold_table(shared, "acme", "acme", "billing_cost_daily"):
        assert not is_held()
        shared.clock = FakeClock(now + timedelta(seconds=60))
        for _ in range(400):
            if not is_held():
                sleep(0.05)
        assert is_held()
    assert not is_held()


def test_a_table_is_written_anew_by_one_at_a_time_and_records_by_nobody_beside_a_load(
    shared: Service,
) -> None:
    now, table = shared.clock.now(), "billing_cost_daily"
    with hold.hold_table(shared, "acme", "acme", table):
        with pytest.raises(Conflict, match="by another"):
            hold.hold_table(shared, "acme", "acme", table).__enter__()
        with shared.database.read() as tx:
            assert loads.held_days(tx, "acme", table, now=now) == {hold.EVERY_DAY}
    key = LoadKey(table=table, day=date(2024, 11, 1), source="a.b.c")
    with shared.database.write() as tx:
        loads.acquire(tx, "acme", key, run_id="other", attempt=1, now=now, seconds=60)
    with pytest.raises(Conflict, match="a run loads"):
        hold.hold_table(shared, "acme", "acme", hold.RECORDS).__enter__()


def test_days_are_loaded_again_of_a_table_that_was_not_held_to_the_end(shared: Service) -> None:
    """The store was away, say: what another published meanwhile was written over."""
    migrate.bring(shared, "acme", approved=True)
    run_sync(shared)
    assert facts(shared, run_sync(shared))["days_unchanged"] == []
    late = FakeClock(shared.clock.now() + timedelta(seconds=hold.REWRITE_SECONDS))
    with (
        pytest.raises(Conflict, match="not held all the time"),
        hold.hold_table(shared, "acme", "acme", "billing_cost_daily"),
    ):
        shared.clock = late
    assert facts(shared, run_sync(shared))["days_unchanged"] == ["2024-11-01"]
