"""Charts as data for the browser, with a sentence and a table for who does not see them.

What is drawn is rounded; the table beneath has the figures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from convergence.model import spend
from convergence.model.money import add_up
from convergence.model.spend import Series
from convergence.web import words

WIDTH, HEIGHT = 96, 24
TOLD = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """`drawn` is what the script reads; `sentence` says what one would see."""

    title: str
    sentence: str
    currency: str
    days: Sequence[date]
    series: Sequence[Series]
    drawn: Mapping[str, Any]

    @property
    def sums(self) -> list[Decimal]:
        """Of each day."""
        return [add_up(values) for values in zip(*(s.values for s in self.series), strict=True)]


def chart(
    title: str,
    currency: str,
    days: Sequence[date],
    series: Sequence[Series],
    *,
    hrefs: Mapping[str, str | None],
) -> Chart:
    """Bars by day, stacked. `hrefs` are where a group's bars lead."""
    drawn = [
        {
            "name": each.name,
            "values": [float(round(value, 4)) for value in each.values],
            "href": hrefs.get(each.group_id) if each.group_id is not None else None,
            "isRest": each.group_id is None,
        }
        for each in series
    ]
    return Chart(
        title=title,
        sentence=_sentence(currency, days, series),
        currency=currency,
        days=days,
        series=series,
        drawn={"currency": currency, "days": [str(day) for day in days], "series": drawn},
    )


def _sentence(currency: str, days: Sequence[date], series: Sequence[Series]) -> str:
    if not series:
        return "No costs in this period."
    sums = {each.name: add_up(each.values) for each in series}
    whole = add_up(sums.values())
    top = sorted(sums.items(), key=lambda item: -item[1])[:TOLD]
    named = ", ".join(f"{name} {words.money(amount)}" for name, amount in top)
    half = len(days) // 2
    earlier, later = (
        add_up(add_up(each.values[part]) for each in series)
        for part in (slice(0, half), slice(len(days) - half, None))
    )
    trend = words.change(spend.change(earlier, later))
    return (
        f"{words.money(whole)} {currency} from {words.day(days[0])} to {words.day(days[-1])}. "
        f"Most: {named}. Second half against the first: {trend}."
    )


def points(values: Sequence[Decimal]) -> str:
    """Of the line of a sparkline, from its box's left to its right."""
    high, low = max((*values, Decimal(0))), min((*values, Decimal(0)))
    span = (high - low) or Decimal(1)
    step = WIDTH / max(len(values) - 1, 1)
    return " ".join(
        f"{place * step:.1f},{2 + float((high - value) / span) * (HEIGHT - 4):.1f}"
        for place, value in enumerate(values)
    )
