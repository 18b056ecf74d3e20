"""Figures of a period from lines of costs: totals, ranks, days in a row. For the dashboard."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from statistics import median

from convergence.model.cost import CostLine
from convergence.model.money import add_up, quotient, subtract

OTHER = "Other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The sums of one group over all of a period's days."""

    group_id: str
    name: str
    rows: int
    cost: Decimal
    credits: Decimal
    net: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A group's net on each of the days in a row. `group_id` None is all that is not shown."""

    group_id: str | None
    name: str
    values: Sequence[Decimal]


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """How a group's net went from one period to another."""

    group_id: str
    name: str
    before: Decimal
    after: Decimal

    @property
    def difference(self) -> Decimal:
        return subtract(self.after, self.before)

    @property
    def ratio(self) -> Decimal | None:
        return change(self.before, self.after)


def change(before: Decimal, after: Decimal) -> Decimal | None:
    """The change as a part of what was; None when there was nothing."""
    return quotient(subtract(after, before), abs(before)) if before else None


def days_between(first: date, last: date) -> list[date]:
    """Both included."""
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def by_currency(lines: Iterable[CostLine]) -> dict[str, list[CostLine]]:
    """The currency of the largest net first."""
    found: dict[str, list[CostLine]] = defaultdict(list)
    for line in lines:
        found[line.currency].append(line)
    return dict(sorted(found.items(), key=lambda item: (-abs(total(item[1])), item[0])))


def within(lines: Iterable[CostLine], first: date, last: date) -> list[CostLine]:
    """Those of the days from `first` to `last`."""
    return [line for line in lines if line.day is not None and first <= line.day <= last]


def total(lines: Iterable[CostLine]) -> Decimal:
    return add_up(line.net for line in lines)


def daily(lines: Iterable[CostLine], days: Sequence[date]) -> list[Decimal]:
    """The net of each day; a day without lines is 0."""
    sums: dict[date | None, list[Decimal]] = defaultdict(list)
    for line in lines:
        sums[line.day].append(line.net)
    return [add_up(sums.get(day, ())) for day in days]


def ranked(lines: Iterable[CostLine]) -> list[Group]:
    """The groups, the largest net first."""
    found: dict[str, list[CostLine]] = defaultdict(list)
    for line in lines:
        found[line.group_id].append(line)
    groups = [
        Group(
            group_id=group_id,
            name=members[-1].name,
            rows=sum(line.rows for line in members),
            cost=add_up(line.cost for line in members),
            credits=add_up(line.credits for line in members),
            net=total(members),
        )
        for group_id, members in found.items()
    ]
    return sorted(groups, key=lambda group: (-group.net, group.name, group.group_id))


def stacked(
    lines: Sequence[CostLine],
    days: Sequence[date],
    groups: Sequence[Group],
    *,
    all_days: Sequence[Decimal],
) -> list[Series]:
    """A series for each of `groups`, and one for the rest of `all_days` where there is any."""
    of: dict[str, list[CostLine]] = defaultdict(list)
    for line in lines:
        of[line.group_id].append(line)
    shown = [
        Series(group_id=group.group_id, name=group.name, values=daily(of[group.group_id], days))
        for group in groups
    ]
    rest = [
        subtract(whole, add_up(series.values[place] for series in shown))
        for place, whole in enumerate(all_days)
    ]
    return [*shown, Series(group_id=None, name=OTHER, values=rest)] if any(rest) else shown


def moves(before: Iterable[CostLine], after: Iterable[CostLine]) -> list[Move]:
    """How each group's net changed, the largest change first; those that did not are left out."""
    old = {group.group_id: group for group in ranked(before)}
    new = {group.group_id: group for group in ranked(after)}
    found = [
        Move(
            group_id=group_id,
            name=(new.get(group_id) or old[group_id]).name,
            before=old[group_id].net if group_id in old else Decimal(0),
            after=new[group_id].net if group_id in new else Decimal(0),
        )
        for group_id in old.keys() | new.keys()
    ]
    changed = [move for move in found if move.difference]
    return sorted(changed, key=lambda move: (-abs(move.difference), move.name, move.group_id))


def usual(values: Sequence[Decimal]) -> Decimal:
    """The median; 0 of nothing."""
    return median(values) if values else Decimal(0)


def unusual(
    lines: Sequence[CostLine], days: Sequence[date], *, above: Decimal
) -> list[tuple[date, Decimal, Decimal]]:
    """Days whose net is more than a part `above` the median of the week before: day, net, part."""
    found = []
    for day in days:
        week = days_between(day - timedelta(days=7), day - timedelta(days=1))
        (net,) = daily(lines, [day])
        part = change(usual(daily(lines, week)), net)
        if part is not None and part > above:
            found.append((day, net, part))
    return found
