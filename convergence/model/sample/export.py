"""The sample as an export: which charges each of its files holds, and their exact totals."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Self

from convergence.model.money import MoneyKey, Total
from convergence.model.sample.catalog import COMPUTE, Account
from convergence.model.sample.charge import Adjustment, Charge, charges

CORRECTION_DAY = 3
"""The day of a month on which charges of the month before are corrected."""
CORRECTED_DAYS = range(4, 8)
"""How many days before: the last days of that month."""
RESTATED = 0.6
CORRECTION = Adjustment(
    mode="COMPLETE_NEGATION_WITH_REMONETIZATION",
    type="PRICE_CORRECTION",
    description="Price of cores corrected",
)
DayTotals = Mapping[date, Mapping[MoneyKey, Total]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Which sample: the same values give the same rows, and a longer one begins with a shorter."""

    first: date
    days: int
    seed: int

    @classmethod
    def until(cls, last: date, *, days: int, seed: int) -> Self:
        return cls(first=last - timedelta(days=days - 1), days=days, seed=seed)

    @property
    def last(self) -> date:
        return self.day(self.days - 1)

    def day(self, index: int) -> date:
        return self.first + timedelta(days=index)


def files(account: Account, sample: Sample) -> dict[date, list[Charge]]:
    """The charges of each file, which is named by the day it was exported for.

    A file holds the charges of its day but for those that come later, late ones of days before,
    and on the third of a month corrections of the month before.
    """
    found: dict[int, list[Charge]] = defaultdict(list)
    of_day: dict[int, list[Charge]] = {}
    for index in range(sample.days):
        of_day[index] = charges(account, sample.first, index, seed=sample.seed)
        for charge in of_day[index]:
            found[_exported(account, index, charge.late)].append(charge)
        if sample.day(index).day == CORRECTION_DAY:
            month = f"{sample.day(index):%Y%m}"
            late = max(CORRECTED_DAYS)
            found[_exported(account, index - late, late)] += _corrections(of_day, index, month)
    return {sample.day(index): found[index] for index in range(sample.days)}


def totals(account: Account, exported: Iterable[Iterable[Charge]]) -> DayTotals:
    """The exact totals of the charges in these files, by usage day."""
    sums: dict[date, dict[MoneyKey, Total]] = defaultdict(lambda: defaultdict(Total))
    for file in exported:
        for charge in file:
            sums[charge.day][charge.key(account.currency)] += charge.total
    return sums


def _exported(account: Account, index: int, late: int) -> int:
    """The file that a charge lies in. The broken one holds its own day alone, so that no other
    day fails with it."""
    file = index + late
    return file + 1 if late and file == account.broken else file


def _corrections(
    of_day: Mapping[int, list[Charge]], index: int, invoice_month: str
) -> Iterator[Charge]:
    """Charges that negate some of the month before and state them again, on a later invoice."""
    for earlier in (index - back for back in CORRECTED_DAYS if index >= back):
        for charge in filter(_is_corrected, of_day[earlier]):
            for factor in (-1.0, RESTATED):
                yield replace(
                    charge,
                    cost=charge.cost * factor,
                    units=charge.units * factor,
                    credits=tuple((each, amount * factor) for each, amount in charge.credits),
                    invoice_month=invoice_month,
                    adjustment=CORRECTION,
                )


def _is_corrected(charge: Charge) -> bool:
    """The committed cores of the first hours, where they came with their day."""
    line = charge.line
    is_committed = line is not None and line.service == COMPUTE and len(line.discounts) > 1
    return is_committed and not charge.late and charge.start.hour == 0
