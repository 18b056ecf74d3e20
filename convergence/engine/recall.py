"""What the bill was at an earlier moment: today's rows, with all that was published since taken
back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from convergence.engine import costs
from convergence.engine.service import Service
from convergence.errors import Invalid, Unavailable
from convergence.model.cost import PERIODS, Calendar, CostQuery, Dimension, Group
from convergence.model.invoice import month_of
from convergence.model.money import Total
from convergence.model.restatement import Restatement
from convergence.store import loads, restatements, tenants
from convergence.store.restatements import Wanted
from convergence.warehouse.question import Result
from convergence.warehouse.sql.cost_queries import BILLING_TABLE

TRIES = 5
_OF_INVOICES = frozenset(
    {Dimension.MONTH, Dimension.SERVICE, Dimension.PROJECT, Dimension.INVOICE_MONTH}
    | {Dimension.CURRENCY}
)
KEPT: Mapping[Calendar, frozenset[Group]] = {
    Calendar.USAGE_UTC: _OF_INVOICES | {Dimension.DAY, Dimension.WEEK},
    Calendar.INVOICE_MONTH: _OF_INVOICES,
}
"""What restatements tell apart. They have usage days in UTC alone."""

_COLUMNS: Mapping[Group, str] = {
    Dimension.SERVICE: "service_id",
    Dimension.PROJECT: "project_id",
    Dimension.INVOICE_MONTH: "invoice_month",
    Dimension.CURRENCY: "currency",
}
_SUMS = frozenset({"rows", "cost", "credits", "net"})

Key = tuple[object, ...]
FirstDays = Mapping[str, Sequence[date]]


def summary_as_of(
    service: Service,
    tenant_id: str,
    question: CostQuery,
    moment: datetime,
    asker: costs.Asker = costs.ANYONE,
) -> Result:
    """What `costs.summary` answered at a moment.

    Raises Invalid for calendars, groups and filters that restatements do not tell apart.
    """
    _check(question)
    question = replace(question, with_credit_types=False)
    for _ in range(TRIES):
        since, first = _since(service, tenant_id, question, moment)
        result = costs.summary(service, tenant_id, question, asker, without=first)
        note_published(service, tenant_id)
        if _since(service, tenant_id, question, moment) == (since, first):
            return _taken_back(result, question, since)
    raise in_motion()


def note_published(service: Service, tenant_id: str) -> None:
    """Record the loads that readers see already and the store does not know of yet: between the
    two lies a moment, or a crash.
    """
    with service.database.read() as tx:
        left = loads.left_staged(tx, tenant_id, BILLING_TABLE)
        dataset = tenants.get(tx, tenant_id).dataset
    for load in left:
        if service.warehouse.is_visible(dataset, load.load_id):
            with service.database.write() as tx:
                loads.publish(tx, tenant_id, load.load_id, now=service.clock.now())


def in_motion() -> Unavailable:
    return Unavailable(
        "loads are being published", code="bill_in_motion", hint="try again in a moment"
    )


def _check(question: CostQuery) -> None:
    if question.with_rates:
        raise Invalid(
            "an earlier bill is in the currencies it was in",
            code="invalid_dimension",
            hint="leave convert out",
        )
    known = KEPT.get(question.calendar)
    if known is None:
        raise Invalid(
            "an earlier bill is not known by days of the provider's time zone: restatements keep "
            "the usage day in UTC alone",
            code="invalid_dimension",
            hint="calendar=usage_utc or calendar=invoice_month",
        )
    asked = {*question.group_by, *(name for name, ids in question.filters.items() if ids)}
    if unknown := asked - known:
        raise Invalid(
            f"an earlier bill has no {', '.join(sorted(map(str, unknown)))}"
            f" with calendar={question.calendar}",
            code="invalid_dimension",
            hint=f"with as_of: {', '.join(sorted(map(str, known)))}",
        )


def _since(
    service: Service, tenant_id: str, question: CostQuery, moment: datetime
) -> tuple[list[Restatement], FirstDays]:
    """What was restated after the moment, and the days that were first loaded after it."""
    is_by_day = question.calendar is Calendar.USAGE_UTC
    wanted = Wanted(date_from=question.date_from, date_to=question.date_to)
    with service.database.read() as tx:
        first = loads.first_loaded_after(tx, tenant_id, BILLING_TABLE, moment)
        found = restatements.after(
            tx, tenant_id, BILLING_TABLE, moment, wanted if is_by_day else Wanted()
        )
    days = {source: set(of_source) for source, of_source in first.items()}
    return [r for r in found if r.usage_date not in days.get(r.source, set())], first


def _taken_back(result: Result, question: CostQuery, since: Sequence[Restatement]) -> Result:
    """The rows with each restatement taken back; groups that are left without rows are none."""
    names = [name for name, _ in result.columns]
    keys = [*(_COLUMNS.get(group, str(group)) for group in question.groups), "currency"]
    groups: dict[Key, dict[str, Any]] = {}
    for row in result.rows:
        shown = dict(zip(names, row, strict=True))
        group = groups.setdefault(tuple(shown[name] or "" for name in keys), shown)
        if group is not shown:
            _add(group, _total(shown))
    for restatement in since:
        if _is_asked(restatement, question):
            values = [_value(restatement, each, question.calendar) for each in question.groups]
            values.append(restatement.currency)
            empty = dict.fromkeys(names) | {"rows": 0}
            empty |= {name: value or None for name, value in zip(keys, values, strict=True)}
            group = groups.setdefault(tuple(value or "" for value in values), empty)
            _add(group, restatement.old + restatement.new.negated())
    rows = [tuple(group[name] for name in names) for group in groups.values() if group["rows"]]
    return replace(result, rows=sorted(rows, key=_order(names)))


def _total(group: Mapping[str, Any]) -> Total:
    zero = Decimal(0)
    return Total(group["rows"], group["cost"] or zero, group["credits"] or zero)


def _add(group: dict[str, Any], more: Total) -> None:
    total = _total(group) + more
    group |= {"rows": total.rows, "cost": total.cost, "credits": total.credits, "net": total.net}


def _is_asked(restatement: Restatement, question: CostQuery) -> bool:
    if question.calendar is Calendar.INVOICE_MONTH and not _is_within(restatement, question):
        return False
    return all(
        str(_value(restatement, group, question.calendar) or "") in ids
        for group, ids in question.filters.items()
        if ids
    )


def _is_within(restatement: Restatement, question: CostQuery) -> bool:
    """As the question's SQL has it: what has no invoice month lies in no period."""
    month, first, last = restatement.invoice_month, question.first, question.last
    if not (first or last):
        return True
    is_late = last is not None and month > f"{last:%Y%m}"
    return bool(month) and not is_late and (first is None or month >= f"{first:%Y%m}")


def _value(restatement: Restatement, group: Group, calendar: Calendar) -> object:
    """What the group is called; nothing where it has no name."""
    day = restatement.usage_date
    match group:
        case Dimension.DAY:
            return day
        case Dimension.WEEK:
            return day - timedelta(days=day.weekday())
        case Dimension.MONTH if calendar is Calendar.INVOICE_MONTH:
            return month_of(restatement.invoice_month)
        case Dimension.MONTH:
            return f"{day:%Y-%m}"
        case _:
            return getattr(restatement, _COLUMNS[group])


def _order(names: Sequence[str]) -> Any:  # noqa: ANN401 - a key to sort by
    """By the periods, then by net, the largest first: as the answer of now."""
    net = names.index("net")
    periods = [index for index, name in enumerate(names) if name in PERIODS]
    others = [
        index for index, name in enumerate(names) if name not in _SUMS and index not in periods
    ]

    def order(row: tuple[Any, ...]) -> tuple[Any, ...]:
        def placed(indices: Sequence[int]) -> list[tuple[bool, Any]]:
            return [(row[index] is None, row[index]) for index in indices]

        return placed(periods), -row[net], placed(others)

    return order
