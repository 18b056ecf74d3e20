"""What the address of the costs page chooses: days, a grouping, filters. And other addresses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Annotated

from fastapi import Depends, Query

from convergence.engine import costs
from convergence.errors import Invalid
from convergence.model.cost import CostQuery, Dimension
from convergence.model.day import LAST_DAY, parse_day
from convergence.store import loads
from convergence.web.visitor import Looking, Visitor
from convergence.web.words import to

LEVELS = {
    Dimension.SERVICE: "Service",
    Dimension.PROJECT: "Project",
    Dimension.SKU: "SKU",
    Dimension.REGION: "Region",
    Dimension.COST_TYPE: "Cost type",
    Dimension.INVOICE_MONTH: "Invoice month",
}
PATH_DOWN = (Dimension.SERVICE, Dimension.SKU, Dimension.PROJECT, Dimension.REGION)
DAYS = 30
MOST_DAYS = 400
SHOWN = 50
MOST_SHOWN = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What the address chooses."""

    first: date
    last: date
    group: Dimension
    filters: Mapping[Dimension, str]
    most: int
    tenant: str | None

    def question(self, *group_by: Dimension, only: Sequence[str] = ()) -> CostQuery:
        filters = {name: (value,) for name, value in self.filters.items()}
        narrowed = filters | ({self.group: tuple(only)} if only else {})
        return CostQuery(
            date_from=self.first, date_to=self.last, group_by=group_by, filters=narrowed
        )

    def before(self) -> "Chosen":
        """The period of the same length that ends where this one begins."""
        length = (self.last - self.first).days + 1
        span = timedelta(days=length)
        return replace(self, first=self.first - span, last=self.last - span)

    def down(self) -> Dimension | None:
        """What to group by one level down; None at the last one."""
        taken = {*self.filters, self.group}
        return next((level for level in PATH_DOWN if level not in taken), None)

    def path(self, path: str = "/costs", **changes: object) -> str:
        """The address with changes."""
        query: dict[str, object] = {
            "tenant": self.tenant,
            "from": self.first,
            "to": self.last,
            "group": self.group,
            "filter": [f"{name}={value}" for name, value in self.filters.items()],
            "most": self.most if self.most != SHOWN else None,
        }
        return to(path, **(query | changes))

    def without(self, name: Dimension) -> str:
        """The address with one filter less, grouped by what it filtered."""
        left = [f"{each}={value}" for each, value in self.filters.items() if each != name]
        return self.path(group=name, filter=left)

    def traced(self, group_id: str) -> str:
        """The address of the loads that one group's costs come from."""
        filters = {**self.filters, self.group: group_id}
        chosen = [f"{name}={value}" for name, value in filters.items()]
        return self.path("/lineage", group=None, most=None, filter=chosen)

    def into(self, group_id: str) -> str | None:
        """The address of one group's own groups."""
        down = self.down()
        if down is None:
            return None
        filters = {**self.filters, self.group: group_id}
        return self.path(group=down, filter=[f"{name}={value}" for name, value in filters.items()])


From = Annotated[str | None, Query(alias="from", max_length=20)]
To = Annotated[str | None, Query(alias="to", max_length=20)]
Filters = Annotated[list[Annotated[str, Query(max_length=300)]] | None, Query(alias="filter")]
Most = Annotated[int, Query(ge=1, le=MOST_SHOWN)]


def read(
    visitor: Looking,
    first: From = None,
    last: To = None,
    group: Dimension = Dimension.SERVICE,
    filters: Filters = None,
    most: Most = SHOWN,
) -> Chosen:
    """Without days: the latest thirty that were loaded. Raises Invalid."""
    end = _day(last) or _latest(visitor)
    begin = _day(first) or end - timedelta(days=DAYS - 1)
    if group not in LEVELS:
        raise Invalid(f"costs are not grouped by {group} here", code="invalid_dimension")
    if not 0 <= (end - begin).days < MOST_DAYS:
        raise Invalid(
            f"{begin} to {end} is no period of 1 to {MOST_DAYS} days",
            code="invalid_date",
            hint="choose an earlier first day, or fewer days; the API takes any period",
        )
    return Chosen(
        first=begin,
        last=end,
        group=group,
        filters=dict(_filter(text) for text in filters or ()),
        most=most,
        tenant=visitor.chosen,
    )


Choice = Annotated[Chosen, Depends(read)]


def _day(text: str | None) -> date | None:
    """Days to come have no costs, and a month is a period as soon as it begins."""
    return parse_day(text, today=LAST_DAY - timedelta(days=1)) if text else None


def _latest(visitor: Visitor) -> date:
    with visitor.service.database.read() as tx:
        found = loads.last_day(tx, visitor.subject.tenant_id, costs.BILLING_TABLE)
    return found or visitor.service.clock.now().date()


def _filter(text: str) -> tuple[Dimension, str]:
    name, _, value = text.partition("=")
    if name not in LEVELS:
        raise Invalid(
            f"{text[:40]!r} is not a filter", code="invalid_filter", hint="filter=service=6F81"
        )
    return Dimension(name), value
