"""The bill by Python's `Decimal`, from the rows themselves. Shares no code with the product."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

PACIFIC = ZoneInfo("America/Los_Angeles")
Row = Mapping[str, Any]


class Sums(NamedTuple):
    rows: int
    cost: Decimal
    credits: Decimal


def exact(value: float) -> Decimal:
    """The float's exact value, rounded once at the ninth place, half away from zero."""
    return Decimal(value).quantize(Decimal("0.000000001"), rounding=ROUND_HALF_UP)


def credits_of(row: Row) -> Decimal:
    given = [credit["amount"] for credit in row["credits"] or [] if credit is not None]
    return sum((exact(amount) for amount in given if amount is not None), Decimal(0))


def bill(rows: Iterable[Row]) -> dict[tuple[object, ...], Sums]:
    """By UTC day, invoice month, service, project, cost type and currency."""
    sums: dict[tuple[object, ...], Sums] = defaultdict(lambda: Sums(0, Decimal(0), Decimal(0)))
    for row in rows:
        key = (
            row["usage_start_time"].astimezone(UTC).date(),
            row["invoice"]["month"],
            row["service"]["id"],
            (row["project"] or {"id": None})["id"],
            row["cost_type"],
            row["currency"],
        )
        so_far = sums[key]
        cost, credit = exact(row["cost"]), credits_of(row)
        sums[key] = Sums(so_far.rows + 1, so_far.cost + cost, so_far.credits + credit)
    return dict(sums)


def pacific_days(rows: Iterable[Row]) -> dict[date, int]:
    """How many rows fall on each day of US/Pacific."""
    days: dict[date, int] = defaultdict(int)
    for row in rows:
        days[row["usage_start_time"].astimezone(PACIFIC).date()] += 1
    return dict(days)
