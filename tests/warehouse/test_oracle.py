"""A generated export of true nested types, against sums that Python's Decimal makes of the rows."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from convergence.model.money import MoneyKey, Total

if TYPE_CHECKING:
    from tests.warehouse.conftest import Tenant

MONTHS, TYPES, CURRENCIES = ("202510", "202511"), ("regular", "tax", "adjustment"), ("EUR", "USD")


def amount(source: random.Random) -> float:
    """Amounts of all sizes, ties at the tenth place and large ones among them."""
    return source.choice(
        (
            source.uniform(-5, 50),
            source.uniform(-1e-7, 1e-7),
            (source.randrange(-1000, 1000) + 0.5) / 1e9,
            source.uniform(8e6, 9e7),
            0.0,
        )
    )


def credits_of(source: random.Random) -> list[dict[str, Any] | None] | None:
    """No list, an empty one, one credit, several, or one without an amount."""
    kinds: tuple[list[float | None] | None, ...] = (
        None,
        [],
        [-amount(source)],
        [-amount(source), -amount(source), -amount(source)],
        [None, -amount(source)],
    )
    found = source.choice(kinds)
    if found is None:
        return None
    return [
        {"name": "c", "amount": value, "full_name": None, "id": "i", "type": "T"} for value in found
    ]


def make_rows(make_row: Callable[..., dict[str, Any]], count: int) -> list[dict[str, Any]]:
    source = random.Random(20251001)  # noqa: S311 - the same rows each time
    start = datetime(2025, 10, 1, tzinfo=UTC)
    return [
        make_row(
            usage_start_time=start + timedelta(seconds=source.randrange(86400)),
            cost=amount(source),
            credits=credits_of(source),
            invoice={"month": source.choice(MONTHS), "publisher_type": "GOOGLE"},
            cost_type=source.choice(TYPES),
            currency=source.choice(CURRENCIES),
            project=None if source.random() < 0.05 else make_row()["project"],
        )
        for _ in range(count)
    ]


def numeric(value: float) -> Decimal:
    return Decimal(value).quantize(Decimal("1e-9"), rounding=ROUND_HALF_UP)


def oracle(rows: list[dict[str, Any]]) -> dict[MoneyKey, Total]:
    sums: dict[MoneyKey, Total] = {}
    for row in rows:
        key = MoneyKey(row["invoice"]["month"], row["cost_type"], row["currency"])
        given = [credit["amount"] for credit in row["credits"] or []]
        credit = sum((numeric(value) for value in given if value is not None), Decimal(0))
        sums[key] = sums.get(key, Total()) + Total(1, numeric(row["cost"]), credit)
    return sums


@pytest.mark.parametrize(
    "count", [5_000, pytest.param(250_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_a_nested_day_gives_the_oracles_sums(
    tenant: "Tenant",
    make_row: Callable[..., dict[str, Any]],
    write_parquet: Callable[..., Path],
    count: int,
) -> None:
    rows = make_rows(make_row, count)
    for part in range(4):
        write_parquet(rows[part::4], f"part-{part}.parquet", row_group_size=20_000)
    totals = tenant.load()
    assert totals.loaded == totals.source == oracle(rows)
    found = tenant.rows(
        "SELECT invoice_month, cost_type, currency, COUNT(*), SUM(cost), SUM(credits_total)"
        " FROM billing_cost_daily GROUP BY 1, 2, 3"
    )
    assert {MoneyKey(*row[:3]): Total(*row[3:]) for row in found} == oracle(rows)
