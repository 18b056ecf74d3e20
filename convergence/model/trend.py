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


def share(part: Decimal, whole: Decimal) -> str:
    """In percent; empty where the whole is nothing."""
    return f"{part / whole * 100:.1f} %" if whole > 0 else ""


def periods(by: str, first: str, last: str) -> list[str]:
    """All days (`YYYY-MM-DD`), weeks (their Mondays) or months (`YYYY-MM`) from one to another."""
    if by == "month":
        start, end = (int(text[:4]) * 12 + int(text[5:]) - 1 for text in (first, last))
        return [f"{number // 12:04}-{number % 12 + 1:02}" for number in range(start, end + 1)]
    step = 7 if by == "week" else 1
    begin = date.fromisoformat(first)
    count = (date.fromisoformat(last) - begin).days // step
    return [(begin + timedelta(days=step * number)).isoformat() for number in range(count + 1)]


def sparkline(values: Sequence[Decimal]) -> str:
    """A bar for each value, the largest the highest; what is not above zero is the lowest."""
    top = max(values, default=Decimal(0))
    if top <= 0:
        return BARS[0] * len(values)
    steps = (
        int(max(value, Decimal(0)) / top * (len(BARS) - 1) + Decimal("0.5")) for value in values
    )
    return "".join(BARS[step] for step in steps)
