"""How the bill agrees with its source, month by month, and what it was at an earlier moment."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from convergence.engine import costs
from convergence.engine.service import Service
from convergence.errors import Conflict, Invalid, Unavailable
from convergence.model.cost import Calendar, CostQuery, Dimension, Group, Part
from convergence.model.invoice import Reconciliation, month_state
from convergence.model.money import MoneyKey, Total
from convergence.model.restatement import Restatement
from convergence.model.tenant import WarehouseKind
from convergence.store import loads, restatements, tenants
from convergence.store.restatements import Wanted
from convergence.warehouse.base import Result
from convergence.warehouse.schemas import load_schema
from convergence.warehouse.sql.cost_axes import PACIFIC
from convergence.warehouse.sql.cost_queries import BILLING_TABLE

TRIES = 5
KEPT: frozenset[Group] = frozenset(
    {Dimension.DAY, Dimension.SERVICE, Dimension.PROJECT, Dimension.INVOICE_MONTH}
)
"""What restatements tell apart."""

_FIGURES = ("currency", "rows", "cost", "credits", "net")
_ID: Mapping[Group, str] = {
    Dimension.DAY: "day",
    Dimension.SERVICE: "service_id",
    Dimension.PROJECT: "project_id",
    Dimension.INVOICE_MONTH: "invoice_month",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """Costs, with when their newest row was exported, which of an earlier bill is not known, and
    the last day taken for complete, None where nothing was loaded; the part that follows, if there
    is one.
    """

    result: Result
    fresh_at: datetime | None
    complete_to: date | None
    following: Part | None = None


Key = tuple[object, ...]
FirstDays = Mapping[str, Sequence[date]]


def reconciliation(service: Service, tenant_id: str, month: str | None) -> list[Reconciliation]:
    """By invoice month, cost type and currency; of one month, or of all, as far as the warehouse
    keeps days. Raises Unavailable.
    """
    expires = service.config.warehouse is WarehouseKind.BIGQUERY
    kept_from = load_schema(BILLING_TABLE).first_kept(service.clock.now()) if expires else None
    first = kept_from or date.min
    for _ in range(TRIES):
        with service.database.read() as tx:
            before = loads.state(tx, tenant_id)
        ours = _ours(service, tenant_id, first, from_rows=True)
        kept = _ours(service, tenant_id, first)
        note_published(service, tenant_id)
        with service.database.read() as tx:
            changed = restatements.months(tx, tenant_id, BILLING_TABLE)
            newest = loads.newest(tx, tenant_id, BILLING_TABLE, first=first)
            if loads.state(tx, tenant_id) == before:
                break
    else:
        raise _in_motion()
    theirs: dict[MoneyKey, Total] = {}
    run_ids: dict[MoneyKey, dict[str, None]] = defaultdict(dict)
    for load in newest:
        for key, total in load.source_totals.items():
            theirs[key] = theirs.get(key, Total()) + total
            run_ids[key][load.run_id] = None
    # Invoice months end where the provider's days do.
    today = service.clock.now().astimezone(ZoneInfo(PACIFIC)).date()
    return [
        Reconciliation(
            invoice_month=key.invoice_month,
            state=month_state(
                key.invoice_month,
                changed.get(key.invoice_month),
                today=today,
                closing_days=service.config.closing_days,
            ),
            changed_at=changed.get(key.invoice_month),
            cost_type=key.cost_type,
            currency=key.currency,
            ours=ours.get(key, Total()),
            kept=kept.get(key, Total()),
            source=theirs.get(key, Total()),
            run_ids=tuple(run_ids[key]),
        )
        for key in sorted(ours.keys() | kept.keys() | theirs.keys())
        if month in {None, key.invoice_month}
    ]


def bill(
    service: Service,
    tenant_id: str,
    question: CostQuery,
    moment: datetime | None = None,
    *,
    rows: tuple[int, int] | None = None,
) -> Bill:
    """The costs now, of which `rows` may choose, or as they were at a moment. Raises Invalid,
    Unavailable.
    """
    now = service.clock.now()
    past = moment if moment is not None and moment < now else None
    if past is None:
        result = costs.summary(service, tenant_id, question, rows=rows)
    else:
        result = summary_as_of(service, tenant_id, question, past)
    return Bill(
        result=result,
        fresh_at=None if past else costs.newest_export_time(service, tenant_id),
        complete_to=_complete_to(service, tenant_id, past or now),
    )


def _complete_to(service: Service, tenant_id: str, moment: datetime) -> date | None:
    """The last day whose rows have had time to arrive, but none after the last that was loaded."""
    with service.database.read() as tx:
        loaded = loads.last_day(tx, tenant_id, BILLING_TABLE, until=moment)
    arrived = moment.date() - timedelta(days=service.config.arriving_days)
    return min(loaded, arrived) if loaded else None


def bill_in_part(
    service: Service,
    tenant_id: str,
    question: CostQuery,
    moment: datetime | None,
    part: Part,
) -> Bill:
    """Some groups of `bill`. All parts are of one state of the bill: together they are the answer.

    Raises as `bill` does, and Conflict when something was published since the first part.
    """
    with service.database.read() as tx:
        state = _text_of(loads.state(tx, tenant_id))
    asked = _digest(question, moment)
    _, _, of_cursor = part.state.partition("/")
    if part.state and of_cursor != asked:
        raise Invalid(
            "the cursor is of another question",
            code="invalid_cursor",
            hint="ask for each part with the same parameters; or begin again, without a cursor",
        )
    state = f"{state}/{asked}"
    now = service.clock.now()
    is_past = moment is not None and moment < now
    # One more than asked for tells whether a part follows.
    rows = None if is_past else (part.limit + 1, part.position)
    found = bill(service, tenant_id, question, moment, rows=rows)
    with service.database.read() as tx:
        is_same = state.startswith(f"{_text_of(loads.state(tx, tenant_id))}/")
    if not is_same or part.state not in {"", state}:
        raise Conflict(
            "the bill has changed since the first part",
            code="bill_changed",
            hint="begin again, without a cursor",
        )
    given = found.result.rows[part.position :] if is_past else found.result.rows
    end = part.position + part.limit
    follows = Part(limit=part.limit, position=end, state=state)
    return replace(
        found,
        result=replace(found.result, rows=given[: part.limit]),
        following=follows if len(given) > part.limit else None,
    )


def _digest(question: CostQuery, moment: datetime | None) -> str:
    text = f"{question.key} {moment}"
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _text_of(state: tuple[int, datetime | None]) -> str:
    count, newest = state
    return f"{count}@{newest.isoformat() if newest else ''}"


def summary_as_of(
    service: Service, tenant_id: str, question: CostQuery, moment: datetime
) -> Result:
    """What `costs.summary` answered at a moment: today's rows without what was published since.

    Raises Invalid for groups and filters that restatements do not tell apart.
    """
    asked = {*question.group_by, *(name for name, ids in question.filters.items() if ids)}
    if question.calendar is not Calendar.USAGE_UTC or question.with_rates:
        raise Invalid(
            "an earlier bill is by usage days in UTC, in the currencies it was in",
            code="invalid_dimension",
            hint="leave calendar and convert out",
        )
    if unknown := asked - KEPT:
        raise Invalid(
            f"an earlier bill has no {', '.join(sorted(map(str, unknown)))}",
            code="invalid_dimension",
            hint=f"with as_of: {', '.join(sorted(map(str, KEPT)))}",
        )
    question = replace(question, with_credit_types=False)
    for _ in range(TRIES):
        since, first = _since(service, tenant_id, question, moment)
        result = costs.summary(service, tenant_id, question, without=first)
        note_published(service, tenant_id)
        if _since(service, tenant_id, question, moment) == (since, first):
            return _taken_back(result, question, since)
    raise _in_motion()


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


def _in_motion() -> Unavailable:
    return Unavailable(
        "loads are being published", code="bill_in_motion", hint="try again in a moment"
    )


def _ours(
    service: Service, tenant_id: str, first: date, *, from_rows: bool = False
) -> dict[MoneyKey, Total]:
    """Of the rows themselves, or of the sums that are kept beside them, as pages show them."""
    dimensions = (Dimension.INVOICE_MONTH, Dimension.COST_TYPE)
    everything = CostQuery(date_from=first, date_to=date.max, group_by=dimensions)
    result = costs.proof(service, tenant_id, everything, from_rows=from_rows)
    found: dict[MoneyKey, Total] = {}
    for month, cost_type, currency, rows, cost, credits_, _ in result.rows:
        key = MoneyKey(month or "", cost_type or "", currency or "")
        found[key] = found.get(key, Total()) + Total(rows, cost, credits_)
    return found


def _since(
    service: Service, tenant_id: str, question: CostQuery, moment: datetime
) -> tuple[list[Restatement], FirstDays]:
    """What was restated after the moment, and the days that were first loaded after it."""
    wanted = Wanted(date_from=question.date_from, date_to=question.date_to)
    with service.database.read() as tx:
        first = loads.first_loaded_after(tx, tenant_id, BILLING_TABLE, moment)
        found = restatements.after(tx, tenant_id, BILLING_TABLE, moment, wanted)
        days = {source: set(of_source) for source, of_source in first.items()}
        return [r for r in found if r.usage_date not in days.get(r.source, set())], first


def _taken_back(result: Result, question: CostQuery, since: Sequence[Restatement]) -> Result:
    """The rows with each restatement taken back; groups that are left without rows are none."""
    names = [name for name, _ in result.columns]
    keys = [_ID[group] for group in dict.fromkeys(question.group_by)]
    groups: dict[Key, dict[str, Any]] = {}
    for row in result.rows:
        shown = dict(zip(names, row, strict=True))
        group = groups.setdefault(_key(shown, keys), shown)
        if group is not shown:
            _add(group, _total(shown))
    for restatement in since:
        if _is_asked(restatement, question):
            values = _values(restatement)
            empty = dict.fromkeys(names) | {name: values[name] or None for name in keys}
            empty |= {"currency": restatement.currency or None, "rows": 0}
            group = groups.setdefault(_key(values, keys), empty)
            _take_back(group, restatement)
    rows = [tuple(group[name] for name in names) for group in groups.values() if group["rows"]]
    return replace(result, rows=sorted(rows, key=_order(names)))


def _take_back(group: dict[str, Any], restatement: Restatement) -> None:
    _add(group, restatement.old + restatement.new.negated())


def _total(group: Mapping[str, Any]) -> Total:
    zero = Decimal(0)
    return Total(group["rows"], group["cost"] or zero, group["credits"] or zero)


def _add(group: dict[str, Any], more: Total) -> None:
    total = _total(group) + more
    group |= {"rows": total.rows, "cost": total.cost, "credits": total.credits, "net": total.net}


def _is_asked(restatement: Restatement, question: CostQuery) -> bool:
    values = _values(restatement)
    return all(
        str(values[_ID[dimension]]) in ids for dimension, ids in question.filters.items() if ids
    )


def _values(restatement: Restatement) -> dict[str, object]:
    return {
        "day": restatement.usage_date,
        "service_id": restatement.service_id,
        "project_id": restatement.project_id,
        "invoice_month": restatement.invoice_month,
        "currency": restatement.currency,
    }


def _key(values: Mapping[str, Any], keys: Sequence[str]) -> Key:
    return tuple(values[name] or "" for name in (*keys, "currency"))


def _order(names: Sequence[str]) -> Any:  # noqa: ANN401 - a key to sort by
    """By day where there is one, then by net, the largest first."""
    net = names.index("net")
    day = names.index("day") if "day" in names else None
    others = [index for index, name in enumerate(names) if name not in {*_FIGURES[1:], "day"}]

    def order(row: tuple[Any, ...]) -> tuple[Any, ...]:
        rest = [row[index] or "" for index in others]
        return ("" if day is None else row[day], -row[net], *rest)

    return order
