"""Days that changed are found, whatever their age, and no other day is touched."""

import os
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from convergence.engine import attempt, costs, migrate
from convergence.engine.at_schema import State
from convergence.engine.execute import Executor
from convergence.engine.launch import launch
from convergence.engine.service import Service
from convergence.errors import WarehouseError
from convergence.model.cancel import CancelToken
from convergence.model.cost import CostQuery, Dimension
from convergence.model.event import Level
from convergence.model.load import LoadKey
from convergence.model.run import LaunchRequest, Run, Status
from convergence.model.source import Grant, Kind, Source
from convergence.store import events, loads, runs, sources, units
from convergence.warehouse.staged import Staged, StageRequest
from tests.conftest import EXPORT, export_line

Export = Callable[..., Path]
OLD, YOUNG = "2024-10-01", "2024-11-04"
SYNC = "gcp/cost/cost_sync"
BY_DAY = CostQuery(date_from=date.min, date_to=date.max, group_by=(Dimension.DAY,))


def run_sync(
    service: Service,
    template: str = SYNC,
    day: str = "2024-11-05",
    *,
    tenant_id: str = "acme",
    source: str = "",
    allow_shrink: bool = False,
) -> Run:
    """Launch it and walk it to its end in this thread."""
    request = LaunchRequest(
        tenant_id=tenant_id,
        template=template,
        run_date=date.fromisoformat(day),
        variables={"source_billing_table": source} if source else {},
        allow_shrink=allow_shrink,
    )
    run = launch(service, request).run
    Executor(service=service, worker="test").walk(tenant_id, run.run_id)
    with service.database.read() as tx:
        return runs.get(tx, tenant_id, run.run_id)


def facts(service: Service, run: Run) -> dict[str, object]:
    with service.database.read() as tx:
        return dict(runs.steps(tx, "acme", run.run_id)[0].report)


def by_day(service: Service) -> dict[str, tuple[int, Decimal, str]]:
    """Rows, net and the run of each day."""
    sql = (
        "SELECT ingestion_date, COUNT(*), SUM(cost + credits_total), MIN(x_run_id)"
        " FROM billing_cost_daily GROUP BY 1 ORDER BY 1"
    )
    found = costs.query(service, "acme", sql).rows
    return {day.isoformat(): (rows, net, run_id) for day, rows, net, run_id in found}


def test_the_first_run_loads_every_day(service: Service, export: Export) -> None:
    export((OLD, "1", "", "202410"), (YOUNG, "2", "-0.5", "202411"))
    run = run_sync(service)
    assert run.status is Status.COMPLETED, run.error
    assert by_day(service) == {
        OLD: (1, Decimal(1), run.run_id),
        YOUNG: (1, Decimal("1.5"), run.run_id),
    }
    with service.database.read() as tx:
        mark = units.watermark(tx, "acme", "billing_cost_daily", EXPORT)
    assert mark is not None
    assert mark.watermark is not None
    assert mark.watermark.isoformat() == "2024-11-04T05:00:00+00:00"


def test_rows_that_somebody_deleted_are_missed_and_loaded_again_once_their_tables_are_made(
    service: Service, export: Export
) -> None:
    export((OLD, "1", "", "202410"), (YOUNG, "2", "", "202411"))
    run_sync(service)
    assert len(costs.summary(service, "acme", BY_DAY).rows) == 2
    service.warehouse.drop_dataset("acme")
    lost = run_sync(service)
    assert (lost.status, lost.error_code) == (Status.FAILED, "tables_gone")
    assert {state.state for state in migrate.bring(service, "acme")} == {State.CURRENT}
    assert costs.summary(service, "acme", BY_DAY).rows == []
    again = run_sync(service)
    assert again.status is Status.COMPLETED, again.error
    assert {day: held[:2] for day, held in by_day(service).items()} == {
        OLD: (1, Decimal(1)),
        YOUNG: (1, Decimal(2)),
    }


def test_with_nothing_new_nothing_is_read_nor_loaded(service: Service, export: Export) -> None:
    path = export((OLD, "1", "", "202410"), (YOUNG, "2", "", "202411"))
    os.utime(path, (1_600_000_000, 1_600_000_000))
    run_sync(service)
    before = by_day(service)
    run = run_sync(service)
    assert run.status is Status.COMPLETED
    assert by_day(service) == before
    assert facts(service, run)["files_changed"] == 0


def test_one_late_row_reloads_its_day_alone(service: Service, export: Export) -> None:
    export((OLD, "1", "", "202410"), (YOUNG, "2", "", "202411"))
    first = run_sync(service)
    export((OLD, "0.25", "", "202411"), name="late.csv")
    second = run_sync(service)
    assert by_day(service) == {
        OLD: (2, Decimal("1.25"), second.run_id),
        YOUNG: (1, Decimal(2), first.run_id),
    }
    assert facts(service, second)["days_loaded"] == [OLD]


def test_a_file_that_changed_reloads_its_old_days_and_its_new_ones(
    service: Service, export: Export
) -> None:
    export(("2024-10-01", "1", "", "x"), ("2024-10-02", "1", "", "x"))
    export(("2024-10-01", "5", "", "x"), ("2024-10-03", "5", "", "x"), name="b.csv")
    run_sync(service)
    export(("2024-10-02", "1", "", "x"), ("2024-10-04", "1", "", "x"))
    run = run_sync(service)
    assert run.status is Status.COMPLETED, run.error
    assert facts(service, run)["days_loaded"] == ["2024-10-01", "2024-10-04"]
    assert facts(service, run)["days_unchanged"] == ["2024-10-02"]
    assert [rows for rows, _, _ in by_day(service).values()] == [1, 1, 1, 1]


def test_a_file_that_was_only_touched_or_renamed_changes_nothing(
    service: Service, export: Export
) -> None:
    path = export((OLD, "1", "", "202410"))
    run_sync(service)
    before = by_day(service)
    os.utime(path)
    assert facts(service, run_sync(service))["files_changed"] == 0
    path.rename(path.with_name("z.csv"))
    assert run_sync(service).status is Status.COMPLETED
    assert by_day(service) == before
    export((OLD, "0.5", "", "202410"), name="late.csv")
    run = run_sync(service)
    assert run.status is Status.COMPLETED, run.error
    assert by_day(service)[OLD] == (2, Decimal("1.5"), run.run_id)


def test_a_file_that_vanished_fails_its_days_and_no_other(service: Service, export: Export) -> None:
    gone = export((OLD, "1", "", "202410"))
    run_sync(service)
    gone.unlink()
    export((YOUNG, "2", "", "202411"), name="b.csv")
    for _ in range(2):
        run = run_sync(service)
        assert (run.status, run.error_code) == (Status.FAILED, "source_shrank")
        assert f"holds no rows of {OLD} now; 1 were published from a.csv (1)" in (run.error or "")
        assert "service 6F81, project proj: 1 row of 1 EUR, now 0 of 0" in (run.error or "")
        assert [*by_day(service)] == [OLD, YOUNG]
    accepted = run_sync(service, allow_shrink=True)
    assert accepted.status is Status.COMPLETED, accepted.error
    assert [*by_day(service)] == [YOUNG]
    assert run_sync(service).status is Status.COMPLETED


def test_a_broken_file_fails_and_is_named_until_it_is_mended(
    service: Service, export: Export
) -> None:
    export((OLD, "1", "", "202410"))
    broken = export((YOUNG, "what", "", "202411"), name="broken.csv")
    run = run_sync(service)
    assert (run.status, run.error_code) == (Status.FAILED, "source_broken")
    assert "broken.csv" in (run.error or "")
    assert [*by_day(service)] == [OLD]
    export((YOUNG, "3", "", "202411"), name=broken.name)
    assert run_sync(service).status is Status.COMPLETED
    assert [*by_day(service)] == [OLD, YOUNG]
    broken.with_name("c.csv").write_text("what\n1\n")
    assert "some files not loaded (0 loaded, " in (run_sync(service).error or "")


def staged_together(service: Service, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The days of each act, as they come."""
    acts: list[list[str]] = []
    stage = service.warehouse.stage_together

    def staging(requests: Sequence[StageRequest], cancel: CancelToken) -> Sequence[Staged]:
        acts.append([request.key.day.isoformat() for request in requests])
        return stage(requests, cancel)

    monkeypatch.setattr(service.warehouse, "stage_together", staging)
    return acts


def test_a_broken_day_and_a_late_one_leave_the_others_together(
    service: Service, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    export((OLD, "1", "", "202410"))
    run_sync(service)
    new = [f"2024-10-{day:02}" for day in range(10, 14)]
    export((OLD, "2", "", "202410"), *((day, "3", "", "202410") for day in new), name="b.csv")
    export((new[0], "what", "", "202410"), name="broken.csv")
    acts = staged_together(service, monkeypatch)
    run = run_sync(service)
    assert (run.status, run.error_code) == (Status.FAILED, "source_broken")
    assert acts == [[OLD, *new[1:]]]
    assert [*by_day(service)] == [OLD, *new[1:]]
    assert by_day(service)[OLD][1] == Decimal(3)


def test_days_that_one_day_load_has_brought_are_not_loaded_again(
    service: Service, export: Export
) -> None:
    export((OLD, "1", "", "202410"), (YOUNG, "2", "", "202411"))
    single = run_sync(service, "gcp/cost/cost_billing", OLD)
    run = run_sync(service)
    assert by_day(service)[OLD][2] == single.run_id
    assert by_day(service)[YOUNG][2] == run.run_id


def test_a_day_to_come_is_refused_and_named(service: Service, export: Export) -> None:
    export((OLD, "1", "", "202410"), ("2031-01-01", "1", "", "203101"))
    run = run_sync(service)
    assert (run.status, run.error_code) == (Status.FAILED, "future_usage")
    told = "holds rows of 2031-01-01, which is still to come: a.csv: usage_start_time ("
    assert told in (run.error or "")
    assert "in 1 row: line 3" in (run.error or "")
    assert [*by_day(service)] == [OLD]


def test_a_day_to_come_is_named_although_its_rows_cannot_be_searched(
    service: Service, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rows_of_day(*_: object) -> str:
        raise WarehouseError("the disk broke")

    monkeypatch.setattr(service.warehouse, "rows_of_day", rows_of_day)
    export((OLD, "1", "", "202410"), ("2031-01-01", "1", "", "203101"))
    run = run_sync(service)
    assert run.error_code == "future_usage"
    assert "2031-01-01, which is still to come: 1 in a.csv" in (run.error or "")
    assert [*by_day(service)] == [OLD]


def test_a_file_is_missed_although_a_day_of_it_was_refused(
    service: Service, export: Export
) -> None:
    export((OLD, "1", "", "202410"))
    both = export((YOUNG, "2", "", "202411"), ("2025-01-01", "9", "", "202501"), name="both.csv")
    assert run_sync(service).error_code == "future_usage"
    assert [*by_day(service)] == [OLD, YOUNG]
    both.unlink()
    run = run_sync(service)
    assert (run.status, run.error_code) == (Status.FAILED, "source_shrank")
    assert "1 day not loaded" in (run.error or "")
    assert "both.csv" in (run.error or "")
    assert [*by_day(service)] == [OLD, YOUNG]
    export((YOUNG, "3", "", "202411"), name=both.name)
    assert run_sync(service).status is Status.COMPLETED
    assert by_day(service)[YOUNG][1] == Decimal(3)


@pytest.mark.parametrize("column", ["cost", "usage_start_time"])
def test_a_column_of_another_type_is_named_with_its_lines(
    service: Service, export: Export, column: str
) -> None:
    path = export((OLD, "1", "", "202410"), (OLD, "2", "", "202410"), (OLD, "3", "", "202410"))
    run_sync(service)
    wrong = {"cost": ",3,", "usage_start_time": f",{OLD}T00:00:00,"}[column]
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], lines[3].replace(wrong, ",n/a,")]) + "\n")
    run = run_sync(service)
    assert (run.status, run.error_code) == (Status.FAILED, "source_broken")
    assert f"a.csv: {column} is not a" in (run.error or "")
    assert "('n/a') in 1 row: line 4" in (run.error or "")
    assert str(path.parent) not in (run.error or "")
    assert by_day(service)[OLD][:2] == (3, Decimal(6))


def test_a_file_that_loses_a_column_is_refused(service: Service, export: Export) -> None:
    path = export((OLD, "1", "", "202410"))
    run_sync(service)
    lines = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("\n".join(",".join(line[:7] + line[8:]) for line in lines) + "\n")
    run = run_sync(service)
    assert (run.status, run.error_code) == (Status.FAILED, "column_lost")
    assert f": 1 row of {OLD}" in (run.error or "")
    assert "project" in (run.error or "")
    assert run_sync(service, allow_shrink=True).status is Status.COMPLETED


def test_a_new_file_without_a_column_of_the_others_is_told_of(
    service: Service, export: Export
) -> None:
    export((OLD, "1", "", "202410"))
    run_sync(service)
    path = export((YOUNG, "2", "", "202411"), name="b.csv")
    lines = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("\n".join(",".join(line[:7] + line[8:]) for line in lines) + "\n")
    (said,) = warnings(service, run_sync(service, "gcp/cost/cost_billing", YOUNG))
    assert f"{path.name} without project, which" in said
    (said,) = warnings(service, run_sync(service))
    assert f"{path.name} without project, which" in said
    assert warnings(service, run_sync(service)) == []


def test_a_narrower_grant_reads_everything_anew(service: Service, export: Export) -> None:
    path = export((OLD, "1", "", "202410"), (OLD, "2", "", "202410"))
    text = path.read_text().splitlines()
    path.write_text("\n".join([*text[:2], text[2].replace(",proj,", ",hidden,")]) + "\n")
    os.utime(path, (1_600_000_000, 1_600_000_000))
    run_sync(service)
    grant = Grant(tenant_id="acme", project_ids=("proj",))
    with service.database.write() as tx:
        files = str(path.parent / "*.csv")
        source = Source(table=EXPORT, files=files, kind=Kind.GCP_STANDARD, grants=(grant,))
        sources.put(tx, source, now=service.clock.now())
    run = run_sync(service)
    assert run.status is Status.COMPLETED, run.error
    assert by_day(service)[OLD][:2] == (1, Decimal(1))


def test_a_load_keeps_its_proof(service: Service, export: Export) -> None:
    export((OLD, "1", "-0.25", "202410"))
    run_sync(service)
    key = LoadKey(table="billing_cost_daily", day=date(2024, 10, 1), source=EXPORT)
    with service.database.read() as tx:
        load = loads.published(tx, "acme", key)
    assert load is not None
    assert load.totals == load.source_totals


@pytest.mark.parametrize("template", ["gcp/cost/cost_sync", "gcp/cost/cost_audit"])
def test_a_source_without_files_is_missing(service: Service, export: Export, template: str) -> None:
    run = run_sync(service, template)
    assert (run.status, run.error_code) == (Status.FAILED, "source_missing")


def test_a_file_that_is_written_while_it_is_read_is_named(
    service: Service, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    export((OLD, "1", "", "202410"))
    run_sync(service)
    before = by_day(service)
    growing = export((YOUNG, "1", "", "202411"), name="growing.csv")
    read = service.warehouse.survey

    def grow(*arguments: object) -> object:
        with growing.open("a") as file:
            file.write(export_line(OLD, "1", "", "202410") + "\n")
        return read(*arguments)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(service.warehouse, "survey", grow)
    monkeypatch.setattr(attempt, "_pause", lambda *_: None)
    run = run_sync(service)
    assert (run.status, run.error_code) == (Status.FAILED, "source_changed")
    assert "growing.csv" in (run.error or "")
    assert by_day(service) == before
    monkeypatch.undo()
    assert run_sync(service).status is Status.COMPLETED
    assert [*by_day(service)] == [OLD, YOUNG]


def test_a_file_that_arrives_while_days_are_loaded_is_found_by_the_next_attempt(
    service: Service, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived = export((OLD, "1", "", "202410")).with_name("arrived.csv")
    stage = service.warehouse.stage

    def arrive(*arguments: object) -> object:
        if not arrived.exists():
            export((OLD, "0.5", "", "202410"), name=arrived.name)
        return stage(*arguments)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(service.warehouse, "stage", arrive)
    monkeypatch.setattr(attempt, "_pause", lambda *_: None)
    run = run_sync(service)
    assert run.status is Status.COMPLETED, run.error
    assert by_day(service)[OLD][:2] == (2, Decimal("1.5"))


def warnings(service: Service, run: Run) -> list[str]:
    """What its log warns of, checks aside."""
    with service.database.read() as tx:
        found = events.page(tx, "acme", run.run_id, after=0, limit=100)
    return [e.message for e in found if e.level is Level.WARNING and "quality" not in e.message]
