"""When a schedule is due: cron, time zones, and what was missed."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.errors import Invalid
from convergence.model.schedule import (
    MOST_AT_ONCE,
    NO_ZONES,
    Schedule,
    check_cron,
    check_zone,
    decide,
    next_due,
    upcoming,
)

FIRST, YEARS = datetime(2024, 1, 1, tzinfo=UTC), 5
DAY = timedelta(days=1)
MIDNIGHT = datetime(2024, 11, 5, tzinfo=UTC)


def make(**changes: Any) -> Schedule:  # noqa: ANN401 - any field
    schedule = Schedule(
        config_id="c1",
        tenant_id="acme",
        template="gcp/cost/cost_billing",
        cron="0 3 * * *",
        timezone="UTC",
        is_active=True,
        next_run_time=MIDNIGHT + timedelta(hours=3),
        created_at=FIRST,
        parameters={},
    )
    return replace(schedule, **changes)


def moments(cron: str, zone: str, after: datetime, until: datetime) -> list[datetime]:
    found = []
    while (due := next_due(cron, zone, after)) is not None and due < until:
        found.append(due)
        after = due
    return found


@pytest.mark.parametrize(
    ("text", "plain"),
    [(" 0  3 * * mon-fri ", "0 3 * * mon-fri"), ("*/5 * 1,15 * *", "*/5 * 1,15 * *")],
)
def test_a_cron_expression_has_five_fields(text: str, plain: str) -> None:
    assert check_cron(text) == plain


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "daily",
            "@daily",
            "* * * *",
            "0 0 3 * * *",
            "61 * * * *",
            "1-0 * * * *",
            "0 0 0 * *",
        ),
        *("0 0 31 2 *", "0 0 30 2 *", "* * * * 9#7", "* * * * *\n", "* * * * \x00"),
        "9" * 5000 + " * * * *",
    ],
)
def test_what_is_no_cron_expression_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_cron(text)
    assert refused.value.code == "invalid_cron"
    assert "0 3 * * *" in refused.value.hint


def test_a_day_that_the_month_lacks_is_named() -> None:
    for text in ("0 0 30 2 *", "0 0 31 4,6 *"):
        with pytest.raises(Invalid, match=r"never comes true: month .* has no day 3"):
            check_cron(text)
    with pytest.raises(Invalid, match="bad month"):
        check_cron("0 0 3 13 *")


@given(st.text(alphabet="0123456789*,/-#LWAMONJ ", max_size=40) | st.text(max_size=20))
def test_any_text_is_a_cron_expression_or_refused(text: str) -> None:
    try:
        plain = check_cron(text)
    except Invalid:
        return
    due = next_due(plain, "UTC", MIDNIGHT)
    assert due is None or due > MIDNIGHT


def test_an_unknown_zone_is_refused_with_the_one_that_was_meant() -> None:
    assert check_zone("Europe/Berlin") == "Europe/Berlin"
    with pytest.raises(Invalid, match="not known") as refused:
        check_zone("Europe/Berln")
    assert refused.value.hint == "did you mean Europe/Berlin?"


@pytest.mark.parametrize(
    "name", ["", "Europe", "../etc/passwd", "/etc/localtime", "utc\0", "Mars/Base"]
)
def test_what_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(Invalid):
        check_zone(name)


@pytest.mark.parametrize(
    ("cron", "zone", "day", "due"),
    [
        # The clocks go from 02:00 to 03:00: the skipped 02:30 runs at 03:00.
        ("30 2 * * *", "America/New_York", "2026-03-08", ["07:00"]),
        # They go from 02:00 back to 01:00: 01:30 comes twice and runs once.
        ("30 1 * * *", "America/New_York", "2026-11-01", ["05:30"]),
        ("30 2 * * *", "Europe/Berlin", "2026-03-29", ["01:00"]),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25", ["00:30"]),
        # Two skipped moments are one.
        ("0,30 2 * * *", "Europe/Berlin", "2026-03-29", ["01:00"]),
        # Every hour goes by real time.
        ("15 * * * *", "Europe/Berlin", "2026-10-25", [f"{hour:02}:15" for hour in range(24)]),
    ],
)
def test_clocks_that_jump_neither_lose_nor_double_a_run(
    cron: str, zone: str, day: str, due: list[str]
) -> None:
    start = datetime.fromisoformat(f"{day}T00:00:00+00:00")
    found = moments(cron, zone, start - timedelta(seconds=1), start + DAY)
    assert [f"{moment:%H:%M}" for moment in found] == due


def test_a_repeated_hour_does_not_run_what_it_ran() -> None:
    """Asked within the second pass of the hour, the next is tomorrow's."""
    second_pass = datetime(2026, 11, 1, 6, 15, tzinfo=UTC)
    due = next_due("30 1 * * *", "America/New_York", second_pass)
    assert due == datetime(2026, 11, 2, 6, 30, tzinfo=UTC)


def changes(zone: ZoneInfo) -> list[datetime]:
    """The midnights (UTC) before its clocks change, in five years."""
    days = [FIRST + DAY * number for number in range(366 * YEARS)]
    return [
        a
        for a, b in pairwise(days)
        if a.astimezone(zone).utcoffset() != b.astimezone(zone).utcoffset()
    ]


def once_a_day(cron: str, zone: str, start: datetime, end: datetime) -> None:
    """From noon to noon, local time, so that no moment lies at the edge."""
    found = moments(cron, zone, start, end)
    assert len(found) == round((end - start) / DAY), (zone, cron, start)
    assert len(set(found)) == len(found)
    assert all(timedelta(hours=20) <= b - a <= timedelta(hours=28) for a, b in pairwise(found))


DAILY = ("0 0 * * *", "30 0 * * *", "30 1 * * *", "30 2 * * *", "0 3 * * *", "30 23 * * *")


def test_a_daily_job_runs_once_a_day_wherever_clocks_change() -> None:
    seen = Counter[str]()
    for name in sorted(available_timezones() - NO_ZONES):
        zone = ZoneInfo(name)
        for before in changes(zone)[::3]:
            noon = datetime.combine(before.date() - DAY * 2, datetime.min.time().replace(hour=12))
            start = noon.replace(tzinfo=zone).astimezone(UTC)
            end = (noon + DAY * 5).replace(tzinfo=zone).astimezone(UTC)
            once_a_day(DAILY[seen.total() % len(DAILY)], name, start, end)
            seen[name] += 1
    assert len(seen) > 100


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_daily_job_runs_once_a_day_in_every_zone_for_five_years() -> None:
    for name in sorted(available_timezones() - NO_ZONES):
        zone = ZoneInfo(name)
        start = datetime(FIRST.year, 1, 1, 12, tzinfo=zone).astimezone(UTC)
        end = datetime(FIRST.year + YEARS, 1, 1, 12, tzinfo=zone).astimezone(UTC)
        once_a_day("30 2 * * *", name, start, end)


def test_the_next_due_times_are_shown() -> None:
    shown = upcoming(make(), 3)
    assert [moment.day for moment in shown] == [5, 6, 7]
    assert upcoming(make(is_active=False), 3) == []


def test_a_run_is_for_the_day_before_its_due_moment_in_utc() -> None:
    assert make().run_date(MIDNIGHT) == date(2024, 11, 4)
    assert make(date_offset=0).run_date(MIDNIGHT) == date(2024, 11, 5)
    tokyo = datetime(2024, 11, 5, 0, 30, tzinfo=ZoneInfo("Asia/Tokyo"))
    assert make().run_date(tokyo) == date(2024, 11, 3)


def test_what_is_not_due_waits() -> None:
    due = decide(make(), MIDNIGHT)
    assert (due.passed, due.moment, due.then) == ((), None, make().next_run_time)


def test_what_is_due_runs_and_goes_on() -> None:
    due = decide(make(), MIDNIGHT + timedelta(hours=3))
    assert due.moment == make().next_run_time
    assert due.then == MIDNIGHT + timedelta(days=1, hours=3)


@pytest.mark.parametrize(("catch_up", "passed"), [(0, 4), (1, 3), (3, 1), (9, 0)])
def test_of_missed_days_the_latest_are_caught_up(catch_up: int, passed: int) -> None:
    now = MIDNIGHT + timedelta(days=3, hours=12)
    due = decide(make(catch_up=catch_up), now)
    assert len(due.passed) == passed
    assert due.moment == (MIDNIGHT + timedelta(days=passed, hours=3) if catch_up else None)
    assert due.then == MIDNIGHT + timedelta(days=min(passed + 1, 4), hours=3)


def test_without_catching_up_the_moment_that_is_on_time_runs() -> None:
    now = MIDNIGHT + timedelta(days=3, hours=3, minutes=1)
    due = decide(make(catch_up=0), now)
    assert (len(due.passed), due.moment) == (3, now - timedelta(minutes=1))


def test_what_waited_for_a_slot_was_not_missed() -> None:
    now = MIDNIGHT + timedelta(hours=9)
    assert decide(make(catch_up=0), now).moment is None
    assert decide(make(catch_up=0, waiting_since=MIDNIGHT), now).moment is not None


def test_what_waited_for_a_slot_runs_before_the_days_that_came_meanwhile() -> None:
    waiting = make(waiting_since=MIDNIGHT + timedelta(hours=3))
    due = decide(waiting, MIDNIGHT + timedelta(days=2, hours=4))
    assert (due.passed, due.moment) == ((), waiting.next_run_time)
    assert due.then == MIDNIGHT + timedelta(days=1, hours=3)


def test_of_a_long_time_the_oldest_part_is_given_up_first() -> None:
    now = MIDNIGHT + timedelta(days=30)
    schedule = make(cron="* * * * *", next_run_time=MIDNIGHT)
    due = decide(schedule, now)
    assert len(due.passed) == MOST_AT_ONCE
    assert (due.moment, due.then) == (None, MIDNIGHT + timedelta(minutes=MOST_AT_ONCE))


@given(
    st.sampled_from(["*/20 * * * *", "17 */5 * * *", "30 2 * * *", "0 0 1 * *"]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
    st.integers(0, 5),
    st.lists(st.integers(0, 30_000), max_size=4),
)
def test_every_moment_runs_or_is_given_up_exactly_once(
    cron: str, zone: str, catch_up: int, looks: list[int]
) -> None:
    """However seldom one looks, and however the clock jumps back and forth."""
    first = next_due(cron, zone, FIRST)
    schedule = make(cron=cron, timezone=zone, catch_up=catch_up, next_run_time=first)
    seen: list[datetime] = []
    now = FIRST
    for minutes in looks:
        now += timedelta(minutes=minutes - 10_000)
        while (due := decide(schedule, now)).then != schedule.next_run_time:
            seen += [*due.passed, *([due.moment] if due.moment else [])]
            schedule = make(cron=cron, timezone=zone, catch_up=catch_up, next_run_time=due.then)
    until = seen[-1] + timedelta(seconds=1) if seen else FIRST
    assert seen == moments(cron, zone, FIRST, until)
