"""Dates of the command line: strict, and the default days in UTC."""

from datetime import date

from convergence.model.day import parse_day
from convergence.outside.clock import SystemClock


def today() -> date:
    return SystemClock().now().date()


def day(text: str | None) -> str | None:
    """The text when it is a day, `YYYY-MM-DD`; else raises Invalid."""
    return parse_day(text, today=today()).isoformat() if text is not None else None
