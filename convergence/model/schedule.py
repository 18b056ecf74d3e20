"""A schedule: a template that runs by itself for one tenant, and when. Pure rules over `now`.

Cron has five fields, read in the schedule's time zone by the rules of Debian's cron: a moment that
the clocks skip runs at the next minute that exists, one that they repeat runs once. A job of every
hour or minute goes by real time.
"""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cache
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from convergence.errors import Invalid
from convergence.model.finding import nearest

UTC_NAME: Final = "UTC"
FIELDS: Final = "minute hour day month weekday, for example '0 3 * * *': every day at 03:00"
CRON: Final = re.compile(r"[0-9A-Za-z*,/# -]{9,100}")
ON_TIME: Final = timedelta(minutes=5)
"""What is found due within this time was not missed."""
NO_ZONES: Final = frozenset({"Factory", "localtime", "posixrules"})
"""Names of files beside the zones: what they mean is the machine's affair."""
MOST_AT_ONCE: Final = 1000
"""Moments that are looked at together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """`template` is provider/domain/name. Times are UTC; `next_run_time` None never comes.

    The date of a run is the UTC day of its due moment plus `date_offset` days. `waiting_since`
    says that the due run waits for a slot; `retry_at` that a dependency was away. `problem` is
    what kept the last due run from its time.
    """

    config_id: str
    tenant_id: str
    template: str
    cron: str
    timezone: str
    is_active: bool
    next_run_time: datetime | None
    created_at: datetime
    parameters: Mapping[str, str]
    priority: int = 5
    """1 is the highest, 10 the lowest."""
    catch_up: int = 1
    """Of the moments that nobody was there for, so many of the latest still run."""
    date_offset: int = -1
    last_run_time: datetime | None = None
    last_run_status: str | None = None
    last_run_id: str | None = None
    waiting_since: datetime | None = None
    retry_at: datetime | None = None
    problem_code: str | None = None
    problem: str | None = None
    updated_at: datetime | None = None

    def run_date(self, due: datetime) -> date:
        """The usage day that the run of a due moment is for."""
        return due.astimezone(UTC).date() + timedelta(days=self.date_offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRequest:
    """What is asked for, as it came in; `template` is provider/domain/name."""

    template: str
    cron: str
    timezone: str = "UTC"
    is_active: bool = True
    parameters: Mapping[str, str] = field(default_factory=dict)
    priority: int = 5
    catch_up: int = 1
    date_offset: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """Moments, first to last, whose runs never came, and why."""

    first_due: datetime
    last_due: datetime
    count: int
    code: str
    reason: str
    recorded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What to do with the moments up to now: give up `passed`, run `moment`, go on with `then`."""

    passed: tuple[datetime, ...]
    moment: datetime | None
    then: datetime | None


def check_cron(text: str) -> str:
    """The expression in its plain form. Raises Invalid: five fields that come true some day."""
    fields = text.split()
    if len(fields) != 5 or not CRON.fullmatch(text):
        raise Invalid(
            f"schedule_cron {text[:60]!r} is not five fields (it has {len(fields)})",
            code="invalid_cron",
            hint=FIELDS,
        )
    plain = " ".join(fields)
    try:
        comes = next(CronSim(plain, datetime(2024, 1, 1, tzinfo=UTC)), None)
    except CronSimError as error:
        minute, hour, day, month, weekday = fields
        any_day, any_month = (minute, hour, "*", month, weekday), (minute, hour, day, "*", weekday)
        if _is_possible(any_day) and _is_possible(any_month):
            raise _never(plain, day, month) from error
        raise Invalid(
            f"schedule_cron {plain!r} is not valid: {str(error).lower()}",
            code="invalid_cron",
            hint=FIELDS,
        ) from error
    if comes is None:
        raise _never(plain, fields[2], fields[3])
    return plain


def _is_possible(fields: Sequence[str]) -> bool:
    try:
        CronSim(" ".join(fields), datetime(2024, 1, 1, tzinfo=UTC))
    except CronSimError:
        return False
    return True


def _never(plain: str, day: str, month: str) -> Invalid:
    return Invalid(
        f"schedule_cron {plain!r} never comes true: month {month} has no day {day}",
        code="invalid_cron",
        hint=f"the last day of a month is L; {FIELDS}",
    )


def check_zone(name: str) -> str:
    """Give the name back. Raises Invalid for one that this machine's time zones do not have."""
    if name == UTC_NAME or name in _zones():
        return name
    if not _zones():
        raise Invalid(
            f"timezone {name[:60]!r}: this machine has no time zones but UTC",
            code="unknown_timezone",
            hint="the operator installs them: the package tzdata",
        )
    meant = nearest(name[:60], sorted(_zones()))
    raise Invalid(
        f"timezone {name[:60]!r} is not known",
        code="unknown_timezone",
        hint=f"did you mean {meant}?" if meant else "for example Europe/Berlin, or UTC",
    )


def next_due(cron: str, timezone: str, after: datetime) -> datetime | None:
    """The first moment after `after`, in UTC; None when there is none. Raises Invalid."""
    return next(_moments(cron, timezone, after), None)


def upcoming(schedule: Schedule, count: int) -> list[datetime]:
    """The next due moments from `next_run_time` on; none of a schedule that is not active."""
    first = schedule.next_run_time
    if first is None or not schedule.is_active:
        return []
    return [first, *islice(_moments(schedule.cron, schedule.timezone, first), count - 1)]


def decide(schedule: Schedule, now: datetime) -> Due:
    """What of a due schedule still runs: the latest `catch_up` moments, and one that is on time.

    One that waits for a slot was not missed, however long it waits: it runs before those that came
    meanwhile. Of a very long time, the oldest part is given up first; the rest is due at once.
    """
    first = schedule.next_run_time
    if first is None or first > now:
        return Due(passed=(), moment=None, then=first)
    moments = [first]
    after = _moments(schedule.cron, schedule.timezone, first)
    if schedule.waiting_since is not None:
        return Due(passed=(), moment=first, then=next(after, None))
    while (then := next(after, None)) is not None and then <= now:
        if len(moments) == MOST_AT_ONCE:
            return Due(passed=tuple(moments), moment=None, then=then)
        moments.append(then)
    is_on_time = now - moments[-1] <= ON_TIME
    rest = max(0, len(moments) - max(schedule.catch_up, int(is_on_time)))
    passed, kept = moments[:rest], moments[rest:]
    return Due(
        passed=tuple(passed),
        moment=kept[0] if kept else None,
        then=kept[1] if len(kept) > 1 else then,
    )


def _moments(cron: str, timezone: str, after: datetime) -> Iterator[datetime]:
    """The due moments after `after`, each once. Raises Invalid for a zone that is gone."""
    last = after
    for local in CronSim(cron, after.astimezone(_zone(timezone))):
        moment = local.astimezone(UTC)
        # From within a repeated hour the next moment may be found in its first pass.
        if moment > last:
            last = moment
            yield moment


def _zone(name: str) -> tzinfo:
    return UTC if name == UTC_NAME else ZoneInfo(check_zone(name))


@cache
def _zones() -> Set[str]:
    """The system's time zones; where it has none, those of the package tzdata, if it is there."""
    return available_timezones() - NO_ZONES
