"""BigQuery refuses for an hour: a run fails with the reason, old rows stay, and then it goes on."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from convergence import wiring
from convergence.engine import attempt, costs
from convergence.engine.onboard import onboard
from convergence.engine.service import Service
from convergence.model.run import Status
from convergence.settings.fields import Settings
from convergence.warehouse.bigquery import faults, jobs
from tests.bigquery_rest.faults import Fault
from tests.bigquery_rest.fixtures import bigquery_rest, bigquery_server
from tests.bigquery_rest.server import Running
from tests.conftest import application, grant_export
from tests.engine.test_sync import run_sync
from tests.exports import export_row, write_rows
from tests.fakes import FakeClock

__all__ = ["bigquery_rest", "bigquery_server"]
BILL = "SELECT SUM(cost), COUNT(*) FROM billing_cost_daily"
REFUSALS = (Fault.QUOTA, Fault.RATE_LIMIT, Fault.BACKEND)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def service(
    bigquery_rest: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> Iterator[Service]:
    """Who is asked to wait does so by the stand-in of the clock."""
    monkeypatch.setattr(wiring, "SystemClock", lambda: clock)
    monkeypatch.setattr(attempt, "_pause", lambda seconds, *_: clock.advance(seconds=seconds))
    monkeypatch.setattr(jobs, "BACKOFF_SECONDS", 0.001)
    quick = faults.RETRY.with_delay(0.001, 0.002).with_timeout(0.005)
    for room in ("jobs", "tables", "sources", "proof"):
        monkeypatch.setattr(f"convergence.warehouse.bigquery.{room}.RETRY", quick)
    settings = Settings(home=tmp_path / "home", warehouse="bigquery")
    made = wiring.build(settings.model_copy(update={"bigquery_endpoint": bigquery_rest.url}))
    onboard(made, application("acme"))
    grant_export(made, tmp_path / "export" / "*.parquet", "acme")
    yield made
    made.close()


def row(day: int, cost: float) -> dict[str, object]:
    start = datetime(2024, 10, day, 5, tzinfo=UTC)
    return export_row(usage_start_time=start, usage_end_time=start.replace(hour=6), cost=cost)


def test_an_hour_of_refusals_costs_no_row(
    service: Service, bigquery_rest: Running, tmp_path: Path, clock: FakeClock
) -> None:
    write_rows(tmp_path / "export" / "a.parquet", [row(1, 1.5), row(1, 2.5)])
    assert run_sync(service).status is Status.COMPLETED
    write_rows(tmp_path / "export" / "b.parquet", [row(1, 4), row(1, 8)])
    chance = random.Random(7)  # noqa: S311 - no secret
    plan = bigquery_rest.fake.faults.plan
    end = clock.now().timestamp() + 3600
    while clock.now().timestamp() < end:
        bigquery_rest.fake.faults.clear()
        for _ in range(200):
            plan(chance.choice(REFUSALS), path="/jobs")
        run = run_sync(service)
        assert (run.status, "BigQuery asks to wait" in (run.error or "")) == (Status.FAILED, True)
        clock.advance(minutes=chance.randint(20, 40))
    bigquery_rest.fake.faults.clear()
    assert costs.query(service, "acme", BILL).rows == [(Decimal(4), 2)]
    run = run_sync(service)
    assert run.status is Status.COMPLETED, run.error
    assert costs.query(service, "acme", BILL).rows == [(Decimal(16), 4)]
