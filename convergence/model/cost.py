"""A question about costs: which days, in which groups, of which services, projects and so on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum

from convergence.errors import Invalid


class Dimension(StrEnum):
    """What costs can be grouped and filtered by. The currency is part of every group."""

    DAY = "day"
    SERVICE = "service"
    SKU = "sku"
    PROJECT = "project"
    INVOICE_MONTH = "invoice_month"
    COST_TYPE = "cost_type"
    REGION = "region"


@dataclass(frozen=True, slots=True, kw_only=True)
class CostQuery:
    """Usage days in UTC, both ends included. Filters name ids; the empty id is a missing one.

    Raises Invalid when the days are in the wrong order or a day to filter by is not a date.
    """

    date_from: date
    date_to: date
    group_by: tuple[Dimension, ...] = ()
    filters: Mapping[Dimension, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.date_from > self.date_to:
            raise Invalid(
                f"{self.date_from} is after {self.date_to}",
                code="invalid_date",
                hint="give the earlier day first",
            )
        for day in self.filters.get(Dimension.DAY, ()):
            _check_day(day)

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for equal questions, and hashable."""
        filters = tuple(sorted(self.filters.items()))
        return self.date_from, self.date_to, self.group_by, filters


def _check_day(text: str) -> None:
    try:
        date.fromisoformat(text)
    except ValueError:
        raise Invalid(
            f"{text[:40]!r} is not a day", code="invalid_date", hint="YYYY-MM-DD"
        ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class CostLine:
    """The sums of one group in one currency; of one day, where days were asked for.

    `group_id` "" is what has no id. Net is cost and credits, which are negative, together.
    """

    day: date | None
    group_id: str
    name: str
    currency: str
    rows: int
    cost: Decimal
    credits: Decimal
    net: Decimal
