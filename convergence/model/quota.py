"""The rule over limits and use: may one more run be admitted?"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from convergence.errors import QuotaExceeded
from convergence.model.tenant import Limits

WARNING_SHARE = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """Runs admitted this UTC day and month, and live at this moment, the new one not included."""

    day: date
    today: int
    month: int
    live: int


def check_quota(limits: Limits, use: Use) -> None:
    """Raise QuotaExceeded when one run more would pass a limit."""
    if use.today >= limits.daily_limit:
        reset_at = _midnight(use.day + timedelta(days=1))
        raise QuotaExceeded(
            f"Daily pipeline quota exceeded. You have run {use.today} pipelines today "
            f"(limit: {limits.daily_limit}). "
            "Please upgrade your subscription or wait until tomorrow.",
            kind="daily",
            current=use.today,
            limit=limits.daily_limit,
            reset_at=reset_at,
            hint=_until(reset_at, "--daily"),
        )
    if use.month >= limits.monthly_limit:
        reset_at = _midnight((use.day.replace(day=1) + timedelta(days=32)).replace(day=1))
        raise QuotaExceeded(
            f"Monthly pipeline quota exceeded. You have run {use.month} pipelines this month "
            f"(limit: {limits.monthly_limit}). "
            "Please upgrade your subscription or wait until next month.",
            kind="monthly",
            current=use.month,
            limit=limits.monthly_limit,
            reset_at=reset_at,
            hint=_until(reset_at, "--monthly"),
        )
    if use.live >= limits.concurrent_limit:
        raise QuotaExceeded(
            f"Concurrent pipeline quota exceeded. {use.live} of your pipelines are running "
            f"(limit: {limits.concurrent_limit}). Please wait until one of them has ended.",
            kind="concurrent",
            current=use.live,
            limit=limits.concurrent_limit,
            reset_at=None,
            hint="see which: cdp runs ls --tenant TENANT --status running; the operator raises "
            "the limit: cdp quota set TENANT --concurrent N",
        )


def is_met(limits: Limits, use: Use) -> bool:
    """Whether one run more would be refused at this moment."""
    try:
        check_quota(limits, use)
    except QuotaExceeded:
        return True
    return False


def passed(limits: Limits, use: Use) -> list[str]:
    """The limits that the present use has passed, as after a downgrade."""
    return [
        f"{count} runs {when}, the limit is {limit} now: {until}"
        for count, limit, when, until in (
            (use.today, limits.daily_limit, "today", "no new run until tomorrow (UTC)"),
            (use.month, limits.monthly_limit, "this month", "no new run until next month (UTC)"),
            (use.live, limits.concurrent_limit, "are live", "what runs goes on, no new one starts"),
        )
        if count > limit
    ]


def warning_due(limits: Limits, today: int) -> bool:
    """Whether `today` runs are 80 % of the daily limit or more."""
    return today >= limits.daily_limit * WARNING_SHARE


def _until(reset_at: datetime, option: str) -> str:
    return (
        f"the count begins anew at {reset_at:%Y-%m-%d %H:%M} UTC; until then the operator can "
        f"raise the limit: cdp quota set TENANT {option} N"
    )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
