"""How costs move: the month so far against the same days of the month before; a row of bars."""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal

BARS = "▁▂▃▄▅▆▇█"


def month_to_date(day: date) -> tuple[date, date]:
    """The first day of its month, and itself."""
    return day.replace(day=1), day


def same_days_before(day: date) -> tuple[date, date]:
    """The same days of the month before, as far as it has them."""
    last = day.replace(day=1) - timedelta(days=1)
    return last.replace(day=1), last.replace(day=min(day.day, last.day))


def change(now: Decimal, before: Decimal) -> str:
    """In percent of what was, with its sign; empty where there was nothing."""
    if before <= 0:
        return ""
    return f"{(now / before - 1) * 100:+.1f} %"


def sparkline(values: Sequence[Decimal]) -> str:
    """A bar for each value, the largest the highest; what is not above zero is the lowest."""
    top = max(values, default=Decimal(0))
    if top <= 0:
        return BARS[0] * len(values)
    steps = (
        int(max(value, Decimal(0)) / top * (len(BARS) - 1) + Decimal("0.5")) for value in values
    )
    return "".join(BARS[step] for step in steps)
