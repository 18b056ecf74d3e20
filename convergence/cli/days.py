"""Dates of the command line: strict, and the default days in UTC."""

from datetime import UTC, date, datetime, time, timedelta

from convergence.model.day import parse_day
from convergence.outside.clock import SystemClock

UNITS = {"d": "days", "h": "hours", "m": "minutes"}
MOST_DIGITS = 5


def now() -> datetime:
    return SystemClock().now()


def today() -> date:
    return now().date()


def day(text: str | None) -> str | None:
    """The text when it is a day, `YYYY-MM-DD`; else raises Invalid."""
    return parse_day(text, today=today()).isoformat() if text is not None else None


def moment(text: str | None) -> str | None:
    """A time ago (`1d`, `12h`, `30m`) or the start of a UTC day, as ISO 8601; else Invalid."""
    if text is None:
        return None
    number, unit = text[:-1], UNITS.get(text[-1:])
    if unit and number.isascii() and number.isdecimal() and len(number) <= MOST_DIGITS:
        return (now() - timedelta(**{unit: int(number)})).isoformat()
    return datetime.combine(parse_day(text, today=today()), time(), UTC).isoformat()
