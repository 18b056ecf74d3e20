"""How the bill agrees with its source, month by month, and what it was at an earlier moment."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

from convergence.engine import costs, recall
from convergence.engine.at_schema import first_kept
from convergence.engine.service import Service
from convergence.errors import Conflict
from convergence.model.cost import Calendar, CostQuery, Dimension, Part, other_question
from convergence.model.invoice import Reconciliation, SharedAccount, month_state
from convergence.model.load import IncompleteDay
from convergence.model.money import MoneyKey, Total
from convergence.store import incomplete, loads, restatements, tenants, versions
from convergence.warehouse.question import Result
from convergence.warehouse.schemas import load_schema
from convergence.warehouse.sql.cost_axes import PACIFIC
from convergence.warehouse.sql.cost_queries import BILLING_TABLE

DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Bill:
    """Costs, with when their newest row was exported, which of an earlier bill is not known; when
    rows were first loaded at all; usage days that lack rows; the part that follows, if there is
    one. `settled_to` is the last day in UTC whose rows have had time to arrive.
    """

    result: Result
    calendar: Calendar
    fresh_at: datetime | None
    settled_to: date | None
    first_loaded_at: datetime | None
    incomplete: Sequence[IncompleteDay]
    following: Part | None = None

    @property
    def complete_to(self) -> date | None:
        """The last day of the calendar up to which all are complete; None where none is."""
        if self.settled_to is None or None in self._lacking:
            return None
        before = (day - DAY for day in self._lacking if day)
        last: date = min((self.settled_to, *before))
        return last - self._reach

    def is_complete(self, day: date) -> bool:
        """Of a day of the calendar: one of the provider's time zone lies in two in UTC."""
        last = day + self._reach
        is_settled = self.settled_to is not None and last <= self.settled_to
        return is_settled and self._lacking.isdisjoint({None, day, last})

    @property
    def _reach(self) -> timedelta:
        return timedelta() if self.calendar is Calendar.USAGE_UTC else DAY

    @cached_property
    def _lacking(self) -> frozenset[date | None]:
        return frozenset(each.day for each in self.incomplete)


def reconciliation(
    service: Service, tenant_id: str, month: str | None, asker: costs.Asker = costs.ANYONE
) -> list[Reconciliation]:
    """By invoice month, cost type and currency; of one month, or of all, as far as the warehouse
    keeps days. Raises Unavailable.
    """
    with service.database.read() as tx:
        dataset = tenants.get(tx, tenant_id).dataset
    first = first_kept(service, dataset, load_schema(BILLING_TABLE))
    for _ in range(recall.TRIES):
        with service.database.read() as tx:
            before = versions.version(tx, tenant_id)
        ours = _ours(service, tenant_id, first, asker, from_rows=True)
        kept = _ours(service, tenant_id, first, asker, from_rows=False)
        recall.note_published(service, tenant_id)
        with service.database.read() as tx:
            changed = restatements.months(tx, tenant_id, BILLING_TABLE)
            newest = loads.newest(tx, tenant_id, BILLING_TABLE, first=first)
            if versions.version(tx, tenant_id) == before:
                break
    else:
        raise recall.in_motion()
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


def incomplete_days(service: Service, tenant_id: str) -> list[IncompleteDay]:
    """Days that lack rows of a source, which no sum of what was loaded can tell."""
    with service.database.read() as tx:
        return incomplete.find(tx, tenant_id, BILLING_TABLE)


def shared_accounts(
    service: Service, tenant_id: str, asker: costs.Asker = costs.ANYONE
) -> list[SharedAccount]:
    """Accounts whose days come from more than one source, which no source's own sums can tell."""
    with service.database.read() as tx:
        days = loads.shared_days(tx, tenant_id, BILLING_TABLE)
    if not days:
        return []
    sources: dict[tuple[date, str], set[str]] = defaultdict(set)
    for day, source, account in costs.accounts(service, tenant_id, days, asker).rows:
        sources[day, account].add(source)
    shared: dict[tuple[str, tuple[str, ...]], list[date]] = defaultdict(list)
    for (day, account), of_day in sources.items():
        if len(of_day) > 1:
            shared[account, tuple(sorted(of_day))].append(day)
    return [
        SharedAccount(
            billing_account_id=account, sources=of, days=len(on), first=min(on), last=max(on)
        )
        for (account, of), on in sorted(shared.items())
    ]


def bill(
    service: Service,
    tenant_id: str,
    question: CostQuery,
    moment: datetime | None = None,
    asker: costs.Asker = costs.ANYONE,
    *,
    rows: tuple[int, int] | None = None,
) -> Bill:
    """The costs now, of which `rows` may choose, or as they were at a moment. Raises Invalid,
    Unavailable.
    """
    now = service.clock.now()
    past = moment if moment is not None and moment < now else None
    if past is None:
        result = costs.summary(service, tenant_id, question, asker, rows=rows)
    else:
        result = recall.summary_as_of(service, tenant_id, question, past, asker)
    # The last day whose rows have had time to arrive, but none after the last that was loaded.
    arrived = (past or now).date() - timedelta(days=service.config.arriving_days)
    with service.database.read() as tx:
        loaded = loads.last_day(tx, tenant_id, BILLING_TABLE, until=past or now)
        first_loaded_at = loads.first_published_at(tx, tenant_id, BILLING_TABLE)
        lacking = incomplete.find(tx, tenant_id, BILLING_TABLE, until=past)
    return Bill(
        result=result,
        calendar=question.calendar,
        fresh_at=None if past else costs.newest_export_time(service, tenant_id, asker),
        settled_to=min(loaded, arrived) if loaded else None,
        first_loaded_at=first_loaded_at,
        incomplete=lacking,
    )


def bill_in_part(
    service: Service,
    tenant_id: str,
    question: CostQuery,
    moment: datetime | None,
    part: Part,
    asker: costs.Asker = costs.ANYONE,
) -> Bill:
    """Some groups of `bill`. All parts are of one state of the bill: together they are the answer.

    Raises as `bill` does, and Conflict when something was published since the first part.
    """
    with service.database.read() as tx:
        version = versions.version(tx, tenant_id)
    asked = f"{question.digest}@{moment}"
    _, _, of_cursor = part.state.partition("/")
    if part.state and of_cursor != asked:
        raise other_question()
    state = f"{version}/{asked}"
    now = service.clock.now()
    is_past = moment is not None and moment < now
    # One more than asked for tells whether a part follows.
    rows = None if is_past else (part.limit + 1, part.position)
    found = bill(service, tenant_id, question, moment, asker, rows=rows)
    with service.database.read() as tx:
        is_same = versions.version(tx, tenant_id) == version
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


def _ours(
    service: Service, tenant_id: str, first: date, asker: costs.Asker, *, from_rows: bool
) -> dict[MoneyKey, Total]:
    """Of the rows themselves, or of the sums that are kept beside them, as pages show them."""
    dimensions = (Dimension.INVOICE_MONTH, Dimension.COST_TYPE)
    everything = CostQuery(date_from=first, date_to=date.max, group_by=dimensions)
    result = costs.proof(service, tenant_id, everything, asker, from_rows=from_rows)
    found: dict[MoneyKey, Total] = {}
    for month, cost_type, currency, rows, cost, credits_, _ in result.rows:
        key = MoneyKey(month or "", cost_type or "", currency or "")
        found[key] = found.get(key, Total()) + Total(rows, cost, credits_)
    return found
