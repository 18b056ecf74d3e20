"""Costs: by service, project and so on, in a period; a click leads one level down."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from fastapi import APIRouter, Request, Response

from convergence.engine import costs
from convergence.engine.service import Service
from convergence.model import spend
from convergence.model.cost import CostLine, Dimension
from convergence.model.load import IncompleteDay
from convergence.model.money import add_up, quotient
from convergence.model.spend import Group
from convergence.model.spreadsheet import to_csv
from convergence.store import incomplete
from convergence.web.charts import Chart, chart
from convergence.web.choice import LEVELS, Choice, Chosen
from convergence.web.problems import PageRoute
from convergence.web.render import page
from convergence.web.visitor import Looking

router = APIRouter(route_class=PageRoute, include_in_schema=False)

SERIES = 8
PERIODS = (7, 30, 90)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A group in the table."""

    group: Group
    share: Decimal
    ratio: Decimal | None
    values: Sequence[Decimal]
    path: str | None

    @property
    def width(self) -> str:
        """Of the share's bar, in percent."""
        return f"{max(0, min(100, float(self.share) * 100)):.1f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One currency: sums never cross them."""

    currency: str
    total: Decimal
    credits: Decimal
    before: Decimal
    ratio: Decimal | None
    chart: Chart
    rows: Sequence[Row]
    hidden: int


@router.get("/costs")
def show(visitor: Looking, chosen: Choice, request: Request) -> Response:
    tenant = visitor.subject
    return page(
        request,
        "costs.html",
        visitor=visitor,
        here="costs",
        tenant=tenant,
        chosen_costs=chosen,
        sections=_sections(visitor.service, tenant.tenant_id, chosen),
        names=_names(visitor.service, tenant.tenant_id, chosen),
        incomplete=_incomplete(visitor.service, tenant.tenant_id, chosen),
        levels=LEVELS,
        periods=_periods(chosen),
    )


@router.get("/costs.csv")
def download(visitor: Looking, chosen: Choice) -> Response:
    """All groups of the period, each figure with all its digits."""
    tenant_id = visitor.subject.tenant_id
    result = costs.summary(visitor.service, tenant_id, chosen.question(chosen.group))
    name = f"{tenant_id}_costs_by_{chosen.group}_{chosen.first}_{chosen.last}.csv"
    return Response(
        to_csv([name for name, _ in result.columns], result.rows),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _incomplete(service: Service, tenant_id: str, chosen: Chosen) -> list[IncompleteDay]:
    """Days of the period that lack rows."""
    with service.database.read() as tx:
        found = incomplete.find(tx, tenant_id, costs.BILLING_TABLE)
    return [each for each in found if not each.day or chosen.first <= each.day <= chosen.last]


def _sections(service: Service, tenant_id: str, chosen: Chosen) -> list[Section]:
    now = spend.by_currency(costs.lines(service, tenant_id, chosen.question(chosen.group)))
    before = spend.by_currency(
        costs.lines(service, tenant_id, chosen.before().question(chosen.group))
    )
    ids = {group.group_id for lines in now.values() for group in spend.ranked(lines)[: chosen.most]}
    is_whole = ids == {line.group_id for lines in now.values() for line in lines}
    only = () if is_whole else sorted(ids)
    of_day = chosen.question(Dimension.DAY, chosen.group, only=only)
    series = spend.by_currency(costs.lines(service, tenant_id, of_day)) if ids else {}
    days = series if is_whole else _days(service, tenant_id, chosen)
    return [
        _section(
            chosen,
            currency,
            now=lines,
            before=before.get(currency, []),
            series=series.get(currency, []),
            all_days=spend.daily(
                days.get(currency, []), spend.days_between(chosen.first, chosen.last)
            ),
        )
        for currency, lines in now.items()
    ]


def _days(service: Service, tenant_id: str, chosen: Chosen) -> dict[str, list[CostLine]]:
    return spend.by_currency(costs.lines(service, tenant_id, chosen.question(Dimension.DAY)))


def _section(
    chosen: Chosen,
    currency: str,
    *,
    now: Sequence[CostLine],
    before: Sequence[CostLine],
    series: Sequence[CostLine],
    all_days: Sequence[Decimal],
) -> Section:
    days = spend.days_between(chosen.first, chosen.last)
    groups, old = spend.ranked(now), {group.group_id: group for group in spend.ranked(before)}
    whole = spend.total(now)
    drawn = spend.stacked(series, days, groups[:SERIES], all_days=all_days)
    values = {
        each.group_id: each.values
        for each in spend.stacked(series, days, groups[: chosen.most], all_days=all_days)
    }
    rows = [
        Row(
            group=group,
            share=quotient(group.net, whole) if whole else Decimal(0),
            ratio=spend.change(old[group.group_id].net, group.net)
            if group.group_id in old
            else None,
            values=values[group.group_id],
            path=chosen.into(group.group_id),
        )
        for group in groups[: chosen.most]
    ]
    return Section(
        currency=currency,
        total=whole,
        credits=add_up(group.credits for group in groups),
        before=spend.total(before),
        ratio=spend.change(spend.total(before), whole),
        chart=chart(
            f"Costs by day and {LEVELS[chosen.group].lower()}, {currency}",
            currency,
            days,
            drawn,
            hrefs={row.group.group_id: row.path for row in rows},
        ),
        rows=rows,
        hidden=len(groups) - len(rows),
    )


def _names(service: Service, tenant_id: str, chosen: Chosen) -> Mapping[Dimension, str]:
    """What the filtered ids are called."""
    found = {}
    for dimension, value in chosen.filters.items():
        lines = costs.lines(service, tenant_id, chosen.question(dimension))
        found[dimension] = next((line.name for line in lines if line.name), value) or "(none)"
    return found


def _periods(chosen: Chosen) -> list[tuple[str, date, date]]:
    """Periods to choose from, all up to the chosen last day."""
    last = chosen.last
    month = last.replace(day=1)
    end = month - timedelta(days=1)
    return [
        *((f"{days} days", last - timedelta(days=days - 1), last) for days in PERIODS),
        (f"{last:%B}", month, last),
        (f"{end:%B}", end.replace(day=1), end),
    ]
