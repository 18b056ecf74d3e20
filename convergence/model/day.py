"""A usage day as callers write it: strict, because every looser reading has a second meaning."""

import re
from datetime import date, timedelta

from convergence.errors import Invalid

FIRST_DAY = date(2006, 1, 1)
LAST_DAY = date(2999, 12, 31)
"""From the one to the other: all days there are."""
_DAY = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")


def parse_day(text: str, *, today: date) -> date:
    """The UTC day of `YYYY-MM-DD`, from 2006-01-01 to the day after `today`; else Invalid."""
    match = _DAY.fullmatch(text)
    try:
        day = date(*map(int, match.groups())) if match else None
    except ValueError:
        day = None
    if day is None:
        raise Invalid(
            f"Date must be in YYYY-MM-DD format (got: {_shown(text)})",
            code="invalid_date",
            hint="a calendar day in UTC, for example 2024-11-01",
        )
    last = today + timedelta(days=1)
    if not FIRST_DAY <= day <= last:
        raise Invalid(
            f"Date must be from {FIRST_DAY} to {last} (got: {day})",
            code="invalid_date",
            hint="a day of which a bill can have usage",
        )
    return day


def _shown(text: str) -> str:
    return text[:40].encode("unicode_escape").decode("ascii")
