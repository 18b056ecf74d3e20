"""A day whose newest load failed is not complete, until it is loaded well."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

from convergence.engine import reconcile
from convergence.engine.reconcile import Bill
from convergence.engine.service import Service
from convergence.model.run import Status
from convergence.store import sources
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
    assert bill(service).complete_to == date(2024, 11, 2)
    assert reconcile.bill(service, "acme", ALL, before).incomplete == []
    assert run_sync(service, allow_shrink=True).status is Status.COMPLETED
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
