"""The sample months of tests/data, through the adapter: totals that were worked out elsewhere."""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from convergence.model.money import differences

DATA = Path(__file__).parent.parent / "data"
BY_INVOICE_MONTH = """
    SELECT invoice_month, COUNT(*), SUM(cost), SUM(credits_total)
    FROM `local.acme.billing_cost_daily` GROUP BY 1 ORDER BY 1
"""
STATIC = [
    ("202509", 168, Decimal(336), Decimal("-7.20")),
    ("202510", 1536, Decimal(3072), Decimal("-79.20")),
    ("202511", 120, Decimal(240), Decimal("-9.60")),
]


def days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def test_static_month_gives_its_documented_totals_and_again_in_another_order(
    make_tenant: Callable[..., Any],
) -> None:
    tenant = make_tenant(pattern=f"{DATA}/gcp_static_month/*.csv.gz")
    all_days = days(date(2025, 9, 28), date(2025, 11, 3))
    for day in all_days:
        totals = tenant.load(day, load_id=f"first {day}")
        assert not differences(totals.loaded, totals.source or {})
    assert tenant.rows(BY_INVOICE_MONTH) == STATIC
    first = tenant.rows("SELECT load_date, content_hash FROM x_meta_loads ORDER BY 1")
    all_days = all_days[1::2] + all_days[::-2]
    for day in all_days:
        tenant.load(day, load_id=f"second {day}", run_id="run-2")
    assert tenant.rows(BY_INVOICE_MONTH) == STATIC
    again = tenant.rows(
        "SELECT load_date, content_hash FROM x_meta_loads WHERE load_id LIKE 'second%' ORDER BY 1"
    )
    assert again == first


def test_random_month_gives_its_documented_total(make_tenant: Callable[..., Any]) -> None:
    tenant = make_tenant(pattern=f"{DATA}/gcp_random_month/*.csv.gz")
    for day in days(date(2025, 10, 1), date(2025, 10, 30)):
        totals = tenant.load(day, load_id=str(day))
        assert not differences(totals.loaded, totals.source or {})
    assert tenant.rows(BY_INVOICE_MONTH) == [("202510", 8640, Decimal("36.250398540"), Decimal(0))]
    assert tenant.rows(
        "SELECT COUNT(DISTINCT service_id), MIN(x_project_labels_json) FROM billing_cost_daily"
    ) == [(23, "[]")]
