"""Files of a source that tell the same of a day, as a file and its copy do, whatever the bytes."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from operator import itemgetter

from convergence.model.cause import spans
from convergence.model.event import rows_in_words
from convergence.model.unit import Survey, UnitDay

ROWS_TWICE = "rows_twice"
"""A fact of the line in the log that tells of twins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """A file that has, of these days, as many rows as another of the same amounts and export."""

    path: str
    other: str
    days: Sequence[date]
    rows: int

    @property
    def sentence(self) -> str:
        return f"{self.path} is as {self.other} on {spans(self.days)}: {rows_in_words(self.rows)}"

    def to_json(self) -> dict[str, str | int]:
        return {
            "path": self.path,
            "other": self.other,
            "first_day": self.days[0].isoformat(),
            "last_day": self.days[-1].isoformat(),
            "days": len(self.days),
            "rows": self.rows,
        }


def twins(survey: Survey) -> list[Twin]:
    """Each with the first file by name that it is like. Rows without money count twice unseen.

    Files may be alike and both be meant: so this is no refusal.
    """
    first: dict[object, str] = {}
    days: dict[tuple[str, str], list[date]] = defaultdict(list)
    rows: dict[tuple[str, str], int] = defaultdict(int)
    parts = [(unit.path, part) for unit in survey.seen.values() for part in unit.days]
    # Amounts are compared where the rest is alike: there are very many.
    alike = Counter(_outline(part) for _, part in parts)
    suspects = [each for each in parts if alike[_outline(each[1])] > 1 and _has_money(each[1])]
    for path, part in sorted(suspects, key=itemgetter(0)):
        other = first.setdefault((*_outline(part), frozenset(part.totals.items())), path)
        if other != path:
            days[path, other].append(part.day)
            rows[path, other] += part.rows
    return [
        Twin(path=path, other=other, days=sorted(days[path, other]), rows=count)
        for (path, other), count in rows.items()
    ]


def _outline(part: UnitDay) -> tuple[object, ...]:
    return part.day, part.max_export_time, part.rows


def _has_money(part: UnitDay) -> bool:
    return any(total.cost or total.credits for total in part.totals.values())
