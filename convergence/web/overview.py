"""The overview: this month so far, how costs move, what is proven, what needs care."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from fastapi import APIRouter, Request, Response

from convergence.engine import costs
from convergence.engine.service import Service
from convergence.model import spend
from convergence.model.cost import CostLine, CostQuery, Dimension
from convergence.model.load import IncompleteDay, Load
from convergence.model.money import Total
from convergence.model.quota import Use
from convergence.model.spend import Move
from convergence.model.tenant import Limits
from convergence.model.trend import same_days_before
from convergence.model.usage import UsageRow
from convergence.store import incomplete, loads, tenants, usage
from convergence.web.attention import concerns
from convergence.web.charts import Chart, chart
from convergence.web.problems import PageRoute
from convergence.web.render import page
from convergence.web.visitor import Looking, Visitor
from convergence.web.words import to

router = APIRouter(route_class=PageRoute, include_in_schema=False)

SERIES = 8
CHART_DAYS = 30
WEEK = 7
MOVERS = 6
UNUSUAL = Decimal("0.5")
"""A day is unusual from this much above the median of the week before."""
MOST_UNUSUAL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """The figures of one currency. `ratio` are changes; None where nothing was before."""

    currency: str
    month: Decimal
    month_before: Decimal
    month_ratio: Decimal | None
    day: Decimal
    usual: Decimal
    day_ratio: Decimal | None
    unusual: Sequence[tuple[date, Decimal, Decimal]]
    chart: Chart
    movers: Sequence[Move]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What is shown beside what the source held when it was loaded; `difference` is of cost and of
    credits, whichever is the larger: they might make up for one another.
    """

    currency: str
    ours: Decimal
    source: Decimal
    difference: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the control store knows of a tenant; `last_day` None: nothing is loaded yet."""

    last_day: date | None
    loads: Sequence[Load]
    incomplete: Sequence[IncompleteDay]
    used: Use
    limits: Limits
    today: UsageRow | None

    @property
    def loaded_at(self) -> datetime | None:
        return max((load.published_at for load in self.loads if load.published_at), default=None)

    @property
    def newest_export(self) -> datetime | None:
        times = (load.source_state.max_export_time for load in self.loads)
        return max((time for time in times if time), default=None)


@router.get("/")
def show(visitor: Looking, request: Request) -> Response:
    if not visitor.choices:
        return page(request, "start.html", visitor=visitor, here="overview")
    tenant = visitor.subject
    service, tenant_id = visitor.service, tenant.tenant_id
    state = _state(service, tenant_id)
    if state.last_day is None:
        return page(request, "start.html", visitor=visitor, here="overview", tenant=tenant)
    lines = _lines(service, tenant_id, state.last_day)
    money = [
        _money(name, of, state.last_day, visitor) for name, of in spend.by_currency(lines).items()
    ]
    proofs = _proofs(lines, state.loads, state.last_day)
    return page(
        request,
        "overview.html",
        visitor=visitor,
        here="overview",
        tenant=tenant,
        state=state,
        money=money,
        proofs=proofs,
        concerns=concerns(service, tenant_id, state, money, proofs),
    )


def _state(service: Service, tenant_id: str) -> State:
    today = service.clock.now().date()
    with service.database.read() as tx:
        last = loads.last_day(tx, tenant_id, costs.BILLING_TABLE)
        return State(
            last_day=last,
            loads=loads.newest(
                tx, tenant_id, costs.BILLING_TABLE, first=last.replace(day=1), last=last
            )
            if last
            else (),
            incomplete=incomplete.find(tx, tenant_id, costs.BILLING_TABLE),
            used=usage.use(tx, tenant_id, today),
            limits=tenants.limits(tx, tenant_id),
            today=usage.row(tx, tenant_id, today),
        )


def _lines(service: Service, tenant_id: str, last: date) -> list[CostLine]:
    """By day and service: all that the page shows, in one question."""
    first = min(same_days_before(last)[0], last - timedelta(days=CHART_DAYS + WEEK))
    question = CostQuery(date_from=first, date_to=last, group_by=(Dimension.DAY, Dimension.SERVICE))
    return costs.lines(service, tenant_id, question)


def _money(currency: str, lines: Sequence[CostLine], last: date, visitor: Visitor) -> Money:
    month = spend.total(spend.within(lines, last.replace(day=1), last))
    before = spend.total(spend.within(lines, *same_days_before(last)))
    days = spend.days_between(last - timedelta(days=CHART_DAYS - 1), last)
    week = spend.days_between(last - timedelta(days=WEEK), last - timedelta(days=1))
    day = spend.total(spend.within(lines, last, last))
    usual = spend.usual(spend.daily(lines, week))
    shown = spend.within(lines, days[0], last)
    series = spend.stacked(
        shown, days, spend.ranked(shown)[:SERIES], all_days=spend.daily(shown, days)
    )
    newer = spend.within(lines, last - timedelta(days=WEEK - 1), last)
    older = spend.within(lines, last - timedelta(days=2 * WEEK - 1), last - timedelta(days=WEEK))
    return Money(
        currency=currency,
        month=month,
        month_before=before,
        month_ratio=spend.change(before, month),
        day=day,
        usual=usual,
        day_ratio=spend.change(usual, day),
        unusual=spend.unusual(lines, days, above=UNUSUAL)[-MOST_UNUSUAL:],
        chart=chart(
            f"Costs by day and service, {currency}",
            currency,
            days,
            series,
            hrefs={
                each.group_id: to(
                    "/costs",
                    tenant=visitor.chosen,
                    group=Dimension.SKU,
                    filter=f"service={each.group_id}",
                )
                for each in series
                if each.group_id is not None
            },
        ),
        movers=spend.moves(older, newer)[:MOVERS],
    )


def _proofs(lines: Sequence[CostLine], known: Sequence[Load], last: date) -> list[Proof]:
    """Of the month so far, in each currency that either side has."""
    ours: dict[str, Total] = {}
    for line in spend.within(lines, last.replace(day=1), last):
        here = Total(line.rows, line.cost, line.credits)
        ours[line.currency] = ours.get(line.currency, Total()) + here
    source: dict[str, Total] = {}
    for load in known:
        for key, total in load.source_totals.items():
            source[key.currency] = source.get(key.currency, Total()) + total
    return [
        _proof(currency, ours.get(currency, Total()), source.get(currency, Total()))
        for currency in sorted({*ours, *source})
    ]


def _proof(currency: str, ours: Total, source: Total) -> Proof:
    over = ours + source.negated()
    difference = max(over.cost, over.credits, over.net, key=abs)
    return Proof(currency=currency, ours=ours.net, source=source.net, difference=difference)
