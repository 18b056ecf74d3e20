"""What somebody should look at, each with the one thing to do about it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Protocol

from convergence.engine.service import Service
from convergence.model.load import IncompleteDay
from convergence.model.quota import WARNING_SHARE, Use
from convergence.model.tenant import Limits
from convergence.store import runs
from convergence.web import words

FAILED_SINCE = timedelta(days=7)
MOST_RUNS = 4
LATE_DAYS = 2
"""The last loaded day is behind the clock by more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Concern:
    """`kind` is bad or warn. `path` leads to what it is about."""

    kind: str
    text: str
    action: str
    path: str


class Known(Protocol):
    """What the overview knows of a tenant."""

    @property
    def last_day(self) -> date | None: ...
    @property
    def incomplete(self) -> Sequence[IncompleteDay]: ...
    @property
    def used(self) -> Use: ...
    @property
    def limits(self) -> Limits: ...


class DayFigures(Protocol):
    """A currency's unusual days: the day, its net, and how much above the usual that is."""

    @property
    def currency(self) -> str: ...
    @property
    def unusual(self) -> Sequence[tuple[date, Decimal, Decimal]]: ...


class Proven(Protocol):
    @property
    def currency(self) -> str: ...
    @property
    def difference(self) -> Decimal: ...


def concerns(
    service: Service,
    tenant_id: str,
    known: Known,
    money: Sequence[DayFigures],
    proofs: Sequence[Proven],
) -> list[Concern]:
    """The gravest first."""
    now = service.clock.now()
    return [
        *_unproven(proofs),
        *_failed(service, tenant_id, now),
        *_incomplete(known.incomplete),
        *_late(known.last_day, now.date()),
        *_unusual(money),
        *_quota(known.used, known.limits),
    ]


def _unproven(proofs: Sequence[Proven]) -> Iterator[Concern]:
    for proof in proofs:
        if proof.difference:
            yield Concern(
                kind="bad",
                text="The costs of this month differ from the source by "
                f"{words.exact(proof.difference)} {proof.currency}: was a sample loaded?",
                action="Look at the runs",
                path="/runs",
            )


def _failed(service: Service, tenant_id: str, now: datetime) -> Iterator[Concern]:
    with service.database.read() as tx:
        found = runs.unresolved(tx, tenant_id, since=now - FAILED_SINCE, limit=MOST_RUNS)
    for run in found:
        yield Concern(
            kind="bad",
            text=f"{run.pipeline_id} failed for {words.day(run.run_date)}",
            action="See why",
            path=f"/runs/{run.run_id}",
        )


def _incomplete(lacking: Sequence[IncompleteDay]) -> Iterator[Concern]:
    """Of each run that could not load days: the first of these, and how many more."""
    for run_id, of_run in groupby(sorted(lacking, key=_of_run), _of_run):
        first, *others = of_run
        more = f" and {len(others)} more" if others else ""
        yield Concern(
            kind="bad",
            text=f"Costs of {words.day(first.day) if first.day else 'any day'}{more} may lack rows "
            f"of {first.source}: {first.code}",
            action="See why",
            path=f"/runs/{run_id}",
        )


def _of_run(lacking: IncompleteDay) -> str:
    return lacking.run_id


def _late(last: date | None, today: date) -> Iterator[Concern]:
    if last is not None and (today - last).days > LATE_DAYS:
        yield Concern(
            kind="warn",
            text=f"No costs since {words.day(last)}, {(today - last).days} days ago",
            action="Look at the runs",
            path="/runs",
        )


def _unusual(money: Sequence[DayFigures]) -> Iterator[Concern]:
    for each in money:
        for day, net, part in each.unusual:
            yield Concern(
                kind="warn",
                text=f"{words.money(net)} {each.currency} on {words.short_day(day)}, "
                f"{words.change(part)} against the median of the week before",
                action="See which service",
                path=words.to("/costs", **{"from": day, "to": day}),
            )


def _quota(used: Use, limits: Limits) -> Iterator[Concern]:
    counts = (
        ("today", used.today, limits.daily_limit),
        ("this month", used.month, limits.monthly_limit),
    )
    for when, count, limit in counts:
        if count >= limit * WARNING_SHARE:
            yield Concern(
                kind="bad" if count >= limit else "warn",
                text=f"{count:,} of {limit:,} runs {when} are used",
                action="See the runs",
                path="/runs",
            )
