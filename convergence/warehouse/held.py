"""What each unit of a source (a file, a partition) holds of each usage day, from sums over rows."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Context, Decimal
from typing import NamedTuple

from convergence.model.money import MoneyKey, Total
from convergence.model.unit import UnitDay

ACCOUNT = "billing_account_id"
NOT_BUSINESS = frozenset({"x_run_id", "x_ingested_at"})
"""Columns that differ between two loads of the same rows."""
_PLACES = Decimal("0.000000001")
_EXACT = Context(prec=80)


class Group(NamedTuple):
    """A row of a survey: one unit, one day, one account, one key."""

    unit: str
    day: date | None
    account: str
    invoice_month: str
    cost_type: str
    currency: str
    rows: int
    cost: Decimal | None
    credits: Decimal | None
    newest: datetime | None


@dataclass(slots=True)
class Held:
    """What one unit was found to hold. `fault` says why it could not be read."""

    totals: dict[date, dict[MoneyKey, Total]] = field(default_factory=lambda: defaultdict(dict))
    newest: dict[date, datetime] = field(default_factory=dict)
    accounts: set[str] = field(default_factory=set)
    timeless: int = 0
    fault: str = ""

    def add(self, group: Group) -> None:
        if group.account:
            self.accounts.add(group.account)
        if group.day is None:
            self.timeless += group.rows
            return
        totals = self.totals[group.day]
        key = MoneyKey(group.invoice_month, group.cost_type, group.currency)
        totals[key] = totals.get(key, Total()) + total(group.rows, group.cost, group.credits)
        if group.newest is not None:
            newest = group.newest.astimezone(UTC)
            self.newest[group.day] = max(newest, self.newest.get(group.day, newest))

    @property
    def days(self) -> tuple[UnitDay, ...]:
        return tuple(
            UnitDay(day=day, totals=totals, max_export_time=self.newest.get(day))
            for day, totals in sorted(self.totals.items())
        )


def held_by_unit(groups: Iterable[Group]) -> dict[str, Held]:
    found: dict[str, Held] = defaultdict(Held)
    for group in groups:
        found[group.unit].add(group)
    return found


def total(rows: int, cost: Decimal | None, credits_: Decimal | None) -> Total:
    """Amounts as a warehouse gives them: NULL for none, perhaps without the zeros at the end."""
    return Total(rows, _nine_places(cost), _nine_places(credits_))


def content_hash(sum_of_hashes: int) -> str:
    """Of rows in whatever order."""
    return f"{sum_of_hashes % 2**128:032x}"


def _nine_places(amount: Decimal | None) -> Decimal:
    return (amount or Decimal(0)).quantize(_PLACES, context=_EXACT)
