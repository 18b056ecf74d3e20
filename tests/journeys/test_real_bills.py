"""Whole bills through the shipped template: every day, twice, in another order, exact each time."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from convergence.engine import costs
from convergence.engine.execute import Executor
from convergence.engine.launch import launch
from convergence.engine.onboard import Onboarded
from convergence.engine.service import Service
from convergence.model.run import LaunchRequest, Status
from convergence.store import runs, tenants
from tests.conftest import grant_export
from tests.fakes import FakeClock

DATA = Path(__file__).parent.parent / "data"
BY_INVOICE_MONTH = """
    SELECT invoice_month, currency, COUNT(*), SUM(cost), SUM(credits_total)
    FROM billing_cost_daily GROUP BY 1, 2 ORDER BY 1
"""


@pytest.fixture
def clock() -> FakeClock:
    """After the bills' days: usage that has not been yet is refused."""
    return FakeClock(datetime(2026, 2, 1, 8, tzinfo=UTC))


@pytest.fixture
def unlimited(service: Service, tenant: Onboarded) -> Service:
    with service.database.write() as tx:
        limits = replace(tenants.limits(tx, "acme"), daily_limit=1000, monthly_limit=10_000)
        tenants.set_limits(tx, "acme", limits, now=service.clock.now())
    return service


def load_days(service: Service, days: Sequence[date]) -> None:
    for day in days:
        request = LaunchRequest(tenant_id="acme", template="gcp/cost/cost_billing", run_date=day)
        run = launch(service, request).run
        Executor(service=service, worker="test").walk("acme", run.run_id)
        with service.database.read() as tx:
            ended = runs.get(tx, "acme", run.run_id)
        assert ended.status is Status.COMPLETED, ended.error


def test_the_static_month_is_exact_in_any_order_and_twice(unlimited: Service) -> None:
    grant_export(unlimited, DATA / "gcp_static_month" / "*.csv.gz", "acme")
    days = [date(2025, 9, 28) + timedelta(days=n) for n in range(36)]
    expected = [
        ("202509", "EUR", 168, Decimal(336), Decimal("-7.2")),
        ("202510", "EUR", 1536, Decimal(3072), Decimal("-79.2")),
        ("202511", "EUR", 120, Decimal(240), Decimal("-9.6")),
    ]
    load_days(unlimited, days)
    assert costs.query(unlimited, "acme", BY_INVOICE_MONTH).rows == expected
    load_days(unlimited, random.Random(7).sample(days, 18))  # noqa: S311 - an order, no secret
    assert costs.query(unlimited, "acme", BY_INVOICE_MONTH).rows == expected


def test_the_random_month_keeps_what_rounding_each_row_gives(unlimited: Service) -> None:
    grant_export(unlimited, DATA / "gcp_random_month" / "*.csv.gz", "acme")
    load_days(unlimited, [date(2025, 10, 1) + timedelta(days=n) for n in range(31)])
    assert costs.query(unlimited, "acme", BY_INVOICE_MONTH).rows == [
        ("202510", "USD", 8640, Decimal("36.250398540"), Decimal(0))
    ]
