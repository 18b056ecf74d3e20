"""Days whose rows were rewritten are loaded again in one act, and each is as if it were alone."""

from collections.abc import Callable
from contextlib import suppress
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from convergence.engine import hold
from convergence.engine.costs import BILLING_TABLE
from convergence.engine.execute import Executor
from convergence.engine.launch import launch
from convergence.engine.service import Service
from convergence.errors import StepFailed
from convergence.model.load import LoadKey
from convergence.model.restatement import Reason
from convergence.model.run import LaunchRequest, Status
from convergence.store import loads, runs
from tests.conftest import EXPORT
from tests.engine.test_restatements import amounts
from tests.engine.test_sync import SYNC, by_day, facts, run_sync, staged_together

Export = Callable[..., Path]
DAYS = ("2024-10-01", "2024-10-02", "2024-10-04")
ONE, TWO, THREE = DAYS


def rows(*costs: str) -> list[tuple[str, str, str, str]]:
    return [(day, cost, "", "202410") for day, cost in zip(DAYS, costs, strict=False)]


def nets(service: Service) -> list[tuple[str, Decimal]]:
    return [(day, net) for day, (_, net, _) in by_day(service).items()]


def test_days_that_are_as_they_were_stay_untouched_and_the_others_change_together(
    service: Service, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(*rows("1", "2", "3"))
    first = run_sync(service)
    acts = staged_together(service, monkeypatch)
    export(*rows("5", "2", "7"))
    run = run_sync(service)
    assert run.status is Status.COMPLETED, run.error
    assert acts == [[*DAYS], [ONE, THREE]]
    assert by_day(service) == {
        ONE: (1, Decimal(5), run.run_id),
        TWO: (1, Decimal(2), first.run_id),
        THREE: (1, Decimal(7), run.run_id),
    }
    assert facts(service, run)["days_loaded"] == [ONE, THREE]
    assert facts(service, run)["days_unchanged"] == [TWO]
    assert sorted(amounts(service)) == [
        (ONE, Decimal(1), Decimal(5), Reason.SOURCE_REWRITTEN),
        (THREE, Decimal(3), Decimal(7), Reason.SOURCE_REWRITTEN),
    ]
    assert run_sync(service).status is Status.COMPLETED
    assert len(acts) == 2


def test_days_loaded_again_together_are_as_they_are_one_by_one(
    service: Service, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(*rows("1", "2", "3"))
    run_sync(service)
    export(*rows("5", "6"), *rows("0.1", "0.2", "0.3"))
    run_sync(service)
    together = nets(service), amounts(service)
    told = len(together[1])

    def refuse(*_: object) -> None:
        raise StepFailed("one by one", code="not_together")

    export(*rows("1", "2", "3"))
    run_sync(service)
    monkeypatch.setattr(service.warehouse, "stage_together", refuse)
    export(*rows("5", "6"), *rows("0.1", "0.2", "0.3"))
    assert run_sync(service).status is Status.COMPLETED
    assert nets(service) == together[0]
    assert sorted(amounts(service)[:told]) == sorted(together[1])


def test_a_day_that_another_run_loads_holds_up_no_other(
    service: Service, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(*rows("1", "2", "3"))
    key = LoadKey(table=BILLING_TABLE, day=date.fromisoformat(TWO), source=EXPORT)
    with service.database.write() as tx:
        assert loads.acquire(
            tx, "acme", key, run_id="another", attempt=1, now=service.clock.now(), seconds=60
        )
    while_waiting = []

    def end_of_the_other(_: float) -> None:
        while_waiting.append(list(by_day(service)))
        with service.database.write() as tx:
            loads.release(tx, "acme", key, run_id="another")

    monkeypatch.setattr(hold, "sleep", end_of_the_other)
    run = run_sync(service)
    assert run.status is Status.COMPLETED, run.error
    assert while_waiting == [[ONE, THREE]]
    assert [*by_day(service)] == [*DAYS]


def test_a_day_that_shrank_fails_alone(
    service: Service, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(*rows("1", "2", "3"))
    run_sync(service)
    acts = staged_together(service, monkeypatch)
    export((ONE, "5", "", "202410"), (THREE, "7", "", "202410"))
    run = run_sync(service)
    assert (run.status, run.error_code) == (Status.FAILED, "source_shrank")
    assert f"1 day not loaded (2 loaded, 0 as they were): {TWO}" in (run.error or "")
    assert acts == [[*DAYS], [ONE, THREE]]
    assert nets(service) == [(ONE, Decimal(5)), (TWO, Decimal(2)), (THREE, Decimal(7))]
    assert run_sync(service, allow_shrink=True).status is Status.COMPLETED
    assert nets(service) == [(ONE, Decimal(5)), (THREE, Decimal(7))]


def test_a_day_that_fails_a_critical_check_fails_alone(
    service: Service, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = "2024-11-05"
    export(*rows("1", "2"), (today, "3", "", "202411"))
    run_sync(service)
    acts = staged_together(service, monkeypatch)
    path = export(*rows("5", "6"), (today, "7", "", "202411"))
    path.write_text(path.read_text().replace(f"{today}T00:00", f"{today}T23:00"))
    run = run_sync(service)
    assert (run.status, run.error_code) == (Status.FAILED, "quality_failed")
    assert f"1 day not loaded (2 loaded, 0 as they were): {today}" in (run.error or "")
    assert acts == [[ONE, TWO, today], [ONE, TWO]]
    assert nets(service) == [(ONE, Decimal(5)), (TWO, Decimal(6)), (today, Decimal(3))]


class Crash(BaseException):
    """The process is gone, as far as the run can tell."""


@pytest.mark.parametrize("point", ["staged", "proven", "published", "told"])
def test_a_reload_that_was_cut_off_is_ended_by_the_next_attempt(
    service: Service, export: Export, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    export(*rows("1", "2", "3"))
    run_sync(service)
    export(*rows("5", "6", "7"))
    owner, name = {
        "staged": (service.warehouse, "totals"),
        "proven": (loads, "stage"),
        "published": (service.warehouse, "publish_together"),
        "told": (loads, "publish"),
    }[point]
    act = getattr(owner, name)

    def crash(*arguments: object, **named: object) -> None:
        if point == "published":
            act(*arguments, **named)
        raise Crash

    request = LaunchRequest(tenant_id="acme", template=SYNC, run_date=date(2024, 11, 5))
    run = launch(service, request).run
    with monkeypatch.context() as patch, suppress(Crash):
        patch.setattr(owner, name, crash)
        Executor(service=service, worker="dying").walk("acme", run.run_id)
    is_published = point in {"published", "told"}
    assert nets(service)[0] == (ONE, Decimal(5 if is_published else 1))
    Executor(service=service, worker="next").walk("acme", run.run_id)
    with service.database.read() as tx:
        ended = runs.get(tx, "acme", run.run_id)
    assert ended.status is Status.COMPLETED, ended.error
    assert {run_id for _, _, run_id in by_day(service).values()} == {run.run_id}
    assert sorted((day, new) for day, _, new, _ in amounts(service)) == nets(service)
    assert facts(service, ended)["days_loaded"] == [*DAYS]
