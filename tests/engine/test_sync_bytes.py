"""A day is as its files are, byte for byte, whoever loaded it and whatever their times say."""

import os
import shutil
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from convergence.engine import watch
from convergence.engine.service import Service
from convergence.model.run import Status
from convergence.store import events, tables
from tests.engine.test_sync import OLD, YOUNG, by_day, facts, run_sync

Export = Callable[..., Path]


def test_a_day_that_was_loaded_of_other_bytes_meanwhile_is_loaded_again(
    service: Service, export: Export
) -> None:
    rows = ((OLD, "1", "", "202410"), (YOUNG, "2", "", "202411"))
    export(*rows)
    first = run_sync(service)
    export((OLD, "100.5", "", "202410"), rows[1])
    run_sync(service, "gcp/cost/cost_billing", OLD)
    assert by_day(service)[OLD][1] == Decimal("100.5")
    export(*rows)
    run = run_sync(service)
    assert run.status is Status.COMPLETED, run.error
    assert by_day(service) == {
        OLD: (1, Decimal(1), run.run_id),
        YOUNG: (1, Decimal(2), first.run_id),
    }
    assert facts(service, run_sync(service))["days_unchanged"] == []


def test_days_that_the_table_keeps_no_more_are_not_compared(
    service: Service, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    export((OLD, "1", "", "202410"), (YOUNG, "2", "", "202411"))
    run_sync(service)
    passing = export((OLD, "8", "", "202410"), (YOUNG, "8", "", "202411"), name="new.csv")
    for day in (OLD, YOUNG):
        run_sync(service, "gcp/cost/cost_billing", day)
    passing.unlink()
    monkeypatch.setattr(watch, "first_kept", lambda *_: date.fromisoformat(YOUNG))
    run = run_sync(service, allow_shrink=True)
    assert run.status is Status.COMPLETED, run.error
    assert facts(service, run)["days_loaded"] == [YOUNG]


def test_a_file_that_came_and_went_between_two_runs_is_missed(
    service: Service, export: Export
) -> None:
    export((OLD, "1", "", "202410"))
    run_sync(service)
    passing = export((OLD, "77.7", "", "202410"), (YOUNG, "8", "", "202411"), name="new.csv")
    for day in (OLD, YOUNG):
        run_sync(service, "gcp/cost/cost_billing", day)
    passing.unlink()
    for _ in range(2):
        run = run_sync(service)
        assert (run.status, run.error_code) == (Status.FAILED, "source_shrank")
        assert "2 days not loaded" in (run.error or "")
        assert "new.csv" in (run.error or "")
    assert run_sync(service, allow_shrink=True).status is Status.COMPLETED
    assert {day: held[:2] for day, held in by_day(service).items()} == {OLD: (1, Decimal(1))}


@pytest.mark.parametrize("how", ["replaced", "written in place"])
def test_other_bytes_are_found_although_size_and_time_were_kept(
    service: Service, export: Export, how: str
) -> None:
    path = export((OLD, "1", "", "202410"), (YOUNG, "2", "", "202411"))
    os.utime(path, (1_600_000_000, 1_600_000_000))
    first = run_sync(service)
    text = path.read_text().replace(",2,", ",3,")
    target = path if how == "written in place" else path.with_name("a.new")
    target.write_text(text)
    os.utime(target, (1_600_000_000, 1_600_000_000))
    target.rename(path)
    run = run_sync(service)
    assert run.status is Status.COMPLETED, run.error
    assert by_day(service) == {
        OLD: (1, Decimal(1), first.run_id),
        YOUNG: (1, Decimal(3), run.run_id),
    }


def test_files_that_were_copied_to_their_place_again_are_hashed_once_and_not_loaded(
    service: Service, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = export((OLD, "1", "", "202410"))
    os.utime(path, (1_600_000_000, 1_600_000_000))
    run_sync(service)
    before = by_day(service)
    copy = shutil.copy2(path, path.with_name("a.new"))
    Path(copy).rename(path)
    surveyed: list[int] = []
    read = service.warehouse.survey

    def survey(*arguments: object) -> object:
        surveyed.append(1)
        return read(*arguments)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(service.warehouse, "survey", survey)
    for _ in range(2):
        assert facts(service, run_sync(service))["files_changed"] == 0
    assert surveyed == [1]
    assert by_day(service) == before


def test_days_that_an_earlier_version_loaded_are_not_loaded_again(
    service: Service, export: Export
) -> None:
    """It kept no change times of files, and of what a load had read no hashes."""
    export((OLD, "1", "", "202410"), (YOUNG, "2", "", "202411"))
    run_sync(service)
    with service.database.write() as tx:
        tx.write(sa.update(tables.source_units).values(ctime_ns=0))
        for row in tx.connection.execute(sa.select(tables.loads)).all():
            state = row.source_state
            for file in state["files"]:
                del file["ctime_ns"], file["content_hash"]
            mine = tables.loads.c.load_id == row.load_id
            tx.write(sa.update(tables.loads).where(mine).values(source_state=state))
    before = by_day(service)
    assert facts(service, run_sync(service))["days_unchanged"] == []
    assert by_day(service) == before


def test_a_link_to_a_file_of_the_source_is_told_of_and_counts_once(
    service: Service, export: Export
) -> None:
    path = export((OLD, "1", "", "202410"))
    link = path.with_name("link.csv")
    link.symlink_to(path)
    for _ in range(2):
        run = run_sync(service)
        assert by_day(service)[OLD][:2] == (1, Decimal(1))
        with service.database.read() as tx:
            said = [event.message for event in events.page(tx, "acme", run.run_id, limit=100)]
        assert "links to files that are read once: link.csv is a.csv" in said


def test_a_link_to_a_file_elsewhere_fails_as_what_it_is(
    service: Service, export: Export, tmp_path: Path
) -> None:
    path = export((OLD, "1", "", "202410"))
    shutil.copy(path, tmp_path / "elsewhere.csv")
    path.with_name("link.csv").symlink_to(tmp_path / "elsewhere.csv")
    run = run_sync(service)
    assert (run.status, run.error_code) == (Status.FAILED, "source_broken")
    assert "link.csv: it is a link to a file outside of the source's folder" in (run.error or "")


def test_an_audit_finds_what_no_file_tells(service: Service, export: Export) -> None:
    export((OLD, "1", "", "202410"), ("2024-10-02", "7", "", "202410"))
    first = run_sync(service)
    with service.warehouse._instances.lend("acme") as cursor:  # type: ignore[attr-defined]
        cursor.execute("UPDATE acme.billing_cost_daily SET cost = 8 WHERE cost = 7")
    assert facts(service, run_sync(service))["days_loaded"] == []
    run = run_sync(service, "gcp/cost/cost_audit", "2024-10-31")
    assert run.status is Status.COMPLETED, run.error
    assert by_day(service) == {
        OLD: (1, Decimal(1), first.run_id),
        "2024-10-02": (1, Decimal(7), run.run_id),
    }
