"""A sync of which a day breaks, or that is ended between its days."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from convergence.engine import attempt
from convergence.engine.service import Service
from convergence.errors import CdpError, StepFailed, Unavailable, WarehouseError
from convergence.model.run import Status
from convergence.warehouse.staged import StageRequest
from tests.engine.test_sync import OLD, YOUNG, by_day, facts, run_sync

Export = Callable[..., Path]
DAYS = (OLD, "2024-10-02", YOUNG)


def export_days(export: Export, cost: str) -> None:
    for number, day in enumerate(DAYS):
        export((day, cost, "", "202411"), name=f"{number}.csv")


@pytest.fixture
def staging_breaks(service: Service, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets the warehouse break when it stages one of the days, each by itself."""
    stage = service.warehouse.stage

    def let_break(error: CdpError, *days: str) -> None:
        def staged(request: StageRequest, *arguments: object) -> object:
            if request.key.day.isoformat() in days:
                raise error
            return stage(request, *arguments)  # type: ignore[arg-type]  # as they came

        def refuse(*_: object) -> None:
            raise StepFailed("one by one", code="not_together")

        monkeypatch.setattr(service.warehouse, "stage", staged)
        monkeypatch.setattr(service.warehouse, "stage_together", refuse)
        monkeypatch.setattr(attempt, "_pause", lambda *_: None)

    return let_break


def test_what_breaks_days_is_told_once_and_keeps_no_other_day(
    service: Service, export: Export, staging_breaks: Callable[..., None]
) -> None:
    export_days(export, "1")
    run_sync(service)
    export_days(export, "2")
    staging_breaks(WarehouseError("the disk is full"), *DAYS[:2])
    run = run_sync(service)
    assert (run.status, run.error_code) == (Status.FAILED, "warehouse_error")
    assert "2 days not loaded (1 loaded, 0 as they were): 2024-10-01 to 2024-10-02: the disk" in (
        run.error or ""
    )
    assert {day: net for day, (_, net, _) in by_day(service).items()} == {
        OLD: Decimal(1),
        DAYS[1]: Decimal(1),
        YOUNG: Decimal(2),
    }
    staging_breaks(WarehouseError("nothing"))
    assert facts(service, run_sync(service))["days_loaded"] == list(DAYS[:2])


def test_days_that_fail_for_different_reasons_each_tell_the_way_out(
    service: Service, export: Export
) -> None:
    gone = export((OLD, "1", "", "202410"))
    run_sync(service)
    gone.unlink()
    export(("2031-01-01", "1", "", "203101"), name="b.csv")
    error = run_sync(service).error or ""
    assert f"{OLD}: " in error
    assert "(source_shrank; try: put the files back" in error
    assert "(future_usage; try: correct usage_start_time" in error


def test_what_ends_a_sync_leaves_the_days_before_settled(
    service: Service, export: Export, staging_breaks: Callable[..., None]
) -> None:
    export_days(export, "1")
    run_sync(service)
    export_days(export, "2")
    staging_breaks(Unavailable("nobody answers"), *DAYS[1:])
    assert run_sync(service).status is Status.FAILED
    staging_breaks(Unavailable("nothing"))
    again = facts(service, run_sync(service))
    assert (again["days_loaded"], again["days_unchanged"]) == (list(DAYS[1:]), [])
