"""The charges of one day of a billing account, each a row of the export to come."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal

from convergence.model.money import MoneyKey, Total
from convergence.model.sample.catalog import ANALYSIS, SUPPORT, Account, Discount, Line

PLACES = Decimal("1e-9")
PACIFIC = timedelta(hours=-8)
"""Invoices follow the months of California: the first hours of a month are the last one's."""
LATE_SHARE = 0.03
ADJUSTED_INDEX = 40
ANOMALY_FACTOR = 9.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """Why a charge negates or states again an earlier one."""

    mode: str
    type: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One row. Money is float, as the export has it; `units` are of the price's unit.

    `line` None is a charge of the account as a whole. `late` is by how many days it is exported
    after the day it is for.
    """

    start: datetime
    end: datetime
    cost: float
    units: float = 0.0
    credits: tuple[tuple[Discount, float], ...] = ()
    invoice_month: str
    cost_type: str = "regular"
    line: Line | None = None
    resource: str | None = None
    sku: tuple[str, str]
    adjustment: Adjustment | None = None
    late: int = 0

    @property
    def day(self) -> date:
        return self.start.date()

    def key(self, currency: str) -> MoneyKey:
        return MoneyKey(self.invoice_month, self.cost_type, currency)

    @property
    def total(self) -> Total:
        """What it adds to its day, exactly: each amount is rounded once, as NUMERIC has it."""
        credits_ = sum((exact(amount) for _, amount in self.credits), Decimal(0))
        return Total(1, exact(self.cost), credits_)


def exact(amount: float) -> Decimal:
    """NUMERIC's value of a FLOAT64: 9 places, half away from zero."""
    return Decimal(amount).quantize(PLACES, ROUND_HALF_UP)


def charges(account: Account, first: date, index: int, *, seed: int) -> list[Charge]:
    """The charges for the day `first + index`, whenever they are exported; the same each time."""
    chance = random.Random(f"{seed}/{account.id}/{index}")  # noqa: S311 - a bill, no secret
    day = first + timedelta(days=index)
    found = [
        charge for line in account.lines for charge in _of_line(account, line, day, index, chance)
    ]
    return [*found, *_of_account(account, day, index)]


def month_of(moment: datetime) -> str:
    """The invoice that usage at this moment is billed on."""
    return f"{moment + PACIFIC:%Y%m}"


def _of_line(
    account: Account, line: Line, day: date, index: int, chance: random.Random
) -> Iterator[Charge]:
    windows = 24 // line.hours
    share = _daily(account, line, day, index, chance) / (line.resources * windows)
    for resource in range(line.resources):
        for window in range(windows):
            start = datetime.combine(day, time(window * line.hours), UTC)
            units = round(share * (0.85 + 0.3 * chance.random()) / line.price, 6)
            cost = units * line.price
            name = f"{line.resource}-{resource + 1}" if line.resource else None
            yield Charge(
                start=start,
                end=start + timedelta(hours=line.hours),
                cost=cost,
                units=units,
                credits=tuple(
                    (each, -cost * each.share) for each in line.discounts if index < each.until
                ),
                invoice_month=month_of(start),
                line=line,
                resource=name,
                sku=line.sku,
                late=_lateness(index, resource + window, chance),
            )


def _daily(account: Account, line: Line, day: date, index: int, chance: random.Random) -> float:
    """What a line costs on a day: it grows, rests at weekends, and no two days are alike."""
    cost = line.daily * (1 + line.growth) ** index * (0.94 + 0.12 * chance.random())
    if day.weekday() >= 5:
        cost *= line.weekend
    if index == account.anomaly and line.sku == ANALYSIS:
        cost *= ANOMALY_FACTOR
    return cost


def _lateness(index: int, place: int, chance: random.Random) -> int:
    """Most rows come with their day, some up to three days later, a few after a month."""
    drawn = chance.random()
    if index % 20 == 5 and place == 0:
        return 30
    return 1 + int(drawn / LATE_SHARE * 3) if drawn < LATE_SHARE else 0


def _of_account(account: Account, day: date, index: int) -> Iterator[Charge]:
    """Charges of no project: tax and rounding when a month ends, once a credit memo."""
    start = datetime.combine(day, time(8), UTC)
    end, month = start + timedelta(hours=1), month_of(start)
    if (day + timedelta(days=1)).day == 1:
        support = sum(line.daily for line in account.lines if line.service == SUPPORT)
        tax = round(support * day.day * account.tax, 6)
        sku = ("7C9D-2A31-05B7", "Tax")
        yield Charge(start=start, end=end, cost=tax, invoice_month=month, cost_type="tax", sku=sku)
        sku = ("0A1C-6F20-9D3E", "Rounding error")
        yield Charge(
            start=start,
            end=end,
            cost=0.004,
            invoice_month=month,
            cost_type="rounding_error",
            sku=sku,
        )
    if index == ADJUSTED_INDEX:
        why = Adjustment(
            mode="MANUAL_ADJUSTMENT", type="SLA_VIOLATION", description="Service level credit"
        )
        sku = ("3B7E-91F4-C2A8", "Credit memo")
        yield Charge(
            start=start,
            end=end,
            cost=-18.5,
            invoice_month=month,
            cost_type="adjustment",
            sku=sku,
            adjustment=why,
        )
