"""A day whose newest load failed is not complete, until it is loaded well."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from convergence.engine import reconcile
from convergence.engine.costs import BILLING_TABLE
from convergence.engine.reconcile import Bill
from convergence.engine.service import Service
from convergence.errors import Conflict, StepFailed
from convergence.model.cancel import CancelToken
from convergence.model.cost import Calendar
from convergence.model.run import Status
from convergence.store import incomplete, sources
from convergence.store.tables import pipeline_runs
from convergence.warehouse.staged import Staged, StageRequest
from tests.conftest import EXPORT
from tests.engine.test_restatements import ALL
from tests.engine.test_sync import OLD, YOUNG, run_sync
from tests.fakes import FakeClock

Export = Callable[..., Path]
BILLING = "gcp/cost/cost_billing"


def bill(service: Service) -> Bill:
    return reconcile.bill(service, "acme", ALL)


def lacking(service: Service) -> list[tuple[str, str, str]]:
    return [(str(each.day), each.code, each.run_id) for each in bill(service).incomplete]


def test_a_day_whose_file_vanished_is_incomplete_until_the_loss_is_accepted(
    service: Service, export: Export, clock: FakeClock
) -> None:
    gone = export((OLD, "1", "", "202410"))
    export((YOUNG, "2", "", "202411"), name="b.csv")
    run_sync(service)
    assert lacking(service) == []
    before = clock.now()
    clock.advance(hours=1)
    gone.unlink()
    runs = [run_sync(service) for _ in range(2)]
    assert lacking(service) == [(OLD, "source_shrank", runs[1].run_id)]
    assert bill(service).complete_to == date(2024, 9, 30)
    assert not bill(service).is_complete(date.fromisoformat(OLD))
    assert reconcile.bill(service, "acme", ALL, before).incomplete == []
    assert run_sync(service, allow_shrink=True).status is Status.COMPLETED
    assert lacking(service) == []


def test_days_are_complete_up_to_one_that_was_refused_and_has_no_rows(
    service: Service, export: Export
) -> None:
    export((OLD, "1", "", "202410"), ("2024-10-03", "1", "", "202410"))
    export(("2024-10-02", "what", "", "202410"), name="broken.csv")
    run = run_sync(service)
    assert (run.status, run.error_code) == (Status.FAILED, "source_broken")
    found = bill(service)
    assert (found.complete_to, lacking(service)) == (
        date.fromisoformat(OLD),
        [("2024-10-02", "source_broken", run.run_id)],
    )
    assert [found.is_complete(date(2024, 10, day)) for day in (1, 2, 3, 4)] == [
        *(True, False, True, False)
    ]


def test_a_day_of_the_provider_is_complete_when_both_its_days_in_utc_are(
    service: Service, export: Export
) -> None:
    export(*((f"2024-10-{day:02}", "1", "", "202410") for day in range(1, 5)))
    run_sync(service)
    assert bill(service).complete_to == date(2024, 10, 4)
    pacific = replace(ALL, calendar=Calendar.USAGE_PACIFIC)
    found = reconcile.bill(service, "acme", pacific)
    assert found.complete_to == date(2024, 10, 3)
    assert [found.is_complete(date(2024, 10, day)) for day in (3, 4)] == [True, False]


def test_a_source_without_files_says_nothing_of_a_day(service: Service, export: Export) -> None:
    path = export((OLD, "1", "", "202410"))
    run_sync(service)
    path.unlink()
    assert run_sync(service, BILLING, OLD).error_code == "source_missing"
    assert lacking(service) == []


def test_a_day_is_complete_again_when_its_source_is_as_it_was_loaded(
    service: Service, export: Export
) -> None:
    file = export((OLD, "1", "", "202410"))
    run_sync(service)
    content = file.read_bytes()
    file.unlink()
    export((YOUNG, "2", "", "202411"), name="b.csv")
    failed = run_sync(service, BILLING, OLD)
    assert lacking(service) == [(OLD, "source_shrank", failed.run_id)]
    file.write_bytes(content)
    run_sync(service)
    assert lacking(service) == []


def test_a_day_that_is_loaded_alone_is_incomplete_until_it_is_loaded_alone(
    service: Service, export: Export
) -> None:
    file = export((OLD, "1", "", "202410"))
    run_sync(service, BILLING, OLD)
    good = file.read_text()
    file.write_text(good.replace(",1,", ",what,"))
    failed = run_sync(service, BILLING, OLD)
    assert lacking(service) == [(OLD, failed.error_code, failed.run_id)]
    file.write_text(good)
    run_sync(service, BILLING, OLD)
    assert lacking(service) == []


@pytest.mark.parametrize("template", ["gcp/cost/cost_sync", "gcp/cost/cost_audit"])
def test_a_day_with_a_broken_file_beside_a_good_one_is_incomplete(
    service: Service, export: Export, template: str
) -> None:
    export((OLD, "1", "", "202410"))
    run_sync(service)
    broken = export((OLD, "what", "", "202410"), name="broken.csv")
    run = run_sync(service, template)
    assert (run.status, run.error_code) == (Status.FAILED, "source_broken")
    assert "broken.csv: cost is not an amount ('what') in 1 row: line 2" in (run.error or "")
    assert OLD in (run.error or "")
    assert lacking(service)
    assert bill(service).complete_to == date.fromisoformat(OLD) - timedelta(days=1)
    broken.unlink()
    assert run_sync(service).status is Status.COMPLETED
    assert lacking(service) == []


def test_no_day_is_complete_where_the_days_of_a_broken_file_cannot_be_told(
    service: Service, export: Export
) -> None:
    broken = export((OLD, "1", "", "202410")).with_name("broken.csv")
    broken.write_text("what\n1\n")
    run = run_sync(service)
    assert lacking(service) == [(day, "source_broken", run.run_id) for day in ("None", OLD)]
    assert bill(service).complete_to is None
    broken.unlink()
    assert run_sync(service).status is Status.COMPLETED
    assert (lacking(service), bill(service).complete_to) == ([], date.fromisoformat(OLD))


def test_what_is_no_more_granted_makes_nothing_incomplete(service: Service, export: Export) -> None:
    gone = export((OLD, "1", "", "202410"))
    export((YOUNG, "2", "", "202411"), name="b.csv")
    run_sync(service)
    gone.unlink()
    run_sync(service)
    with service.database.write() as tx:
        sources.remove(tx, EXPORT)
    assert lacking(service) == []


def test_an_attempt_whose_run_was_taken_over_makes_nothing_incomplete(
    service: Service, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    export((OLD, "1", "", "202410"))
    asked = list[StageRequest]()

    def stage(request: StageRequest, cancel: CancelToken) -> Staged:
        asked.append(request)
        with service.database.write() as tx:
            tx.write(sa.update(pipeline_runs).values(attempt=pipeline_runs.c.attempt + 1))
        raise StepFailed("another attempt has loaded the day", code="not_staged")

    monkeypatch.setattr(service.warehouse, "stage", stage)
    with pytest.raises(Conflict, match="has passed to another attempt"):
        run_sync(service, BILLING, OLD)
    assert asked
    with service.database.read() as tx:
        assert incomplete.find(tx, "acme", BILLING_TABLE) == []
