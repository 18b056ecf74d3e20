"""Rows that a load cannot take, in words: what is wrong, how many, and where the first are."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from typing_extensions import override

from convergence.errors import StepFailed
from convergence.model.event import rows_in_words

SHOWN = 5
"""So many rows of one fault are named, and so many files."""


class Place(StrEnum):
    """What a row of a file is found by; both begin with 1, but for Parquet's row."""

    LINE = "line"
    RECORD = "record"
    ROW = "file_row_number"


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRows:
    """Rows of one file, or of a table, with one fault; `where` are the first of them.

    Without a `place` they are keys that find rows of a table. `is_part`: there may be more.
    """

    what: str
    rows: int
    where: Sequence[object]
    place: Place | None = None
    is_part: bool = False

    @override
    def __str__(self) -> str:
        shown = list(map(str, self.where[:SHOWN]))
        more = f" and {self.rows - len(shown)} more" if self.rows > len(shown) else ""
        if self.place is None:
            listed = "; ".join(shown)
        else:
            many = "s" if len(shown) > 1 and self.place is not Place.ROW else ""
            listed = f"{self.place}{many} {', '.join(shown)}"
        least = "at least " if self.is_part else ""
        return f"{self.what} in {least}{rows_in_words(self.rows)}: {listed}{more}"


def in_words(found: Sequence[BadRows]) -> str:
    """All faults of one file."""
    return "; ".join(map(str, found))


def null_in(table: str, columns: Sequence[str], where: str) -> StepFailed:
    """A required column without a value; `where` tells the rows, if they were found."""
    named = ", ".join(columns)
    return StepFailed(
        f"{table}: {where}" if where else f"{table}: NULL in the required column {named}",
        code="required_null",
        hint=f"give these rows a {named} in the source, or let the query give them one"
        if where
        else "no row of the source is without it: look at what the query makes of it",
    )
