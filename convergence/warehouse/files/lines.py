"""CSV and JSON as lines of text: where a record begins, and which lines are none.

Read after a failure alone: DuckDB tells neither. What is kept is what is shown, whatever the size.
"""

import csv
import gzip
import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from convergence.model.cancel import CancelToken
from convergence.warehouse.bad_rows import SHOWN, BadRows, Place
from convergence.warehouse.watched import watched

_MOST = 2**26
"""Characters of an array of JSON that are read whole to find what is wrong with it, and of a line.
"""
_LONGEST_FIELD = 2_000_000
"""Characters of a field of CSV, as many as DuckDB takes in a row: Python's own limit is lower."""
csv.field_size_limit(_LONGEST_FIELD)

UNREADABLE = (OSError, EOFError, ValueError, RecursionError, csv.Error, zlib.error)
"""What goes wrong while a text is read that is none, or is damaged."""
_BLANK = "\ufeff \t\r\n"


@contextmanager
def open_text(path: str, cancel: CancelToken | None = None) -> Iterator[TextIO]:
    """What is not UTF-8 is decoded by `surrogateescape`. Each read raises what the token says."""
    is_packed = path.lower().endswith(".gz")
    with gzip.open(path) if is_packed else Path(path).open("rb") as file:
        read = watched(cast("BinaryIO", file), cancel or CancelToken())
        with TextIOWrapper(read, "utf-8-sig", errors="surrogateescape", newline="") as text:
            yield text


def lines_of_csv(path: str, records: Collection[object], cancel: CancelToken) -> dict[object, int]:
    """The lines at which records begin, none where they cannot be told; the first follows the
    header.

    Raises what the token says, as all that reads here.
    """
    with suppress(*UNREADABLE), open_text(path, cancel) as text:
        begins = (line for line, row in _numbered(text) if row and not isinstance(row, csv.Error))
        return _picked(enumerate(begins), records)
    return {}


def lines_of_json(path: str, records: Collection[object], cancel: CancelToken) -> dict[object, int]:
    """The lines of records, one on each; none where they are not written so."""
    with suppress(*UNREADABLE), open_text(path, cancel) as text:
        if _is_of_lines(text):
            text.seek(0)
            given = (number for number, line in enumerate(_lines(text), 1) if line.strip(_BLANK))
            return _picked(enumerate(given, 1), records)
    return {}


def _picked(numbered: Iterable[tuple[int, int]], records: Collection[object]) -> dict[object, int]:
    """The lines of the wanted records, read as far as the last of them."""
    wanted = ((record, line) for record, line in numbered if record in records)
    return dict(islice(wanted, len(records)))


def broken_csv(path: str, width: int, cancel: CancelToken) -> list[BadRows]:
    """Lines that are no rows of a file with `width` columns."""
    found = _Tally()
    try:
        with open_text(path, cancel) as text:
            for line, row in _numbered(text):
                if isinstance(row, csv.Error):
                    found.note(_said(row), line)
                elif row and (fault := _misfit(row, width)):
                    found.note(fault, line)
    except UNREADABLE:
        pass  # what is wrong beyond that is told by DuckDB's own words
    return found.bad_rows(Place.LINE)


def broken_json(path: str, cancel: CancelToken | None = None) -> list[BadRows]:
    """Lines, or records of an array, that are no objects."""
    try:
        with open_text(path, cancel) as text:
            is_of_lines = _is_of_lines(text)
            text.seek(0)
            return _broken_lines(text) if is_of_lines else _broken_array(text)
    except UNREADABLE:
        return []


class _Tally:
    """Faults, counted by their kind; of each the first places, and only so many kinds."""

    def __init__(self) -> None:
        self._rows = Counter[str]()
        self._where: dict[str, list[int]] = defaultdict(list)

    def note(self, what: str, where: int) -> None:
        kind = what if what in self._rows or len(self._rows) < SHOWN else "other faults"
        self._rows[kind] += 1
        if self._rows[kind] <= SHOWN:
            self._where[kind].append(where)

    def bad_rows(self, place: Place) -> list[BadRows]:
        return [
            BadRows(what=what, rows=rows, where=self._where[what], place=place)
            for what, rows in self._rows.items()
        ]


def _lines(text: TextIO) -> Iterator[str]:
    """The lines, as far as none is longer than any record may be."""
    while line := text.readline(_MOST + 1):
        if len(line) > _MOST:
            raise csv.Error(f"a line of more than {_MOST:,} characters")
        yield line


def _numbered(text: TextIO) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """Each row with the line at which it begins; last of all the error that ends the file."""
    rows = csv.reader(_lines(text), strict=True)
    while True:
        line = rows.line_num + 1
        try:
            yield line, next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, error
            return


def _misfit(row: list[str], width: int) -> str:
    if len(row) != width:
        return f"{len(row)} field{'s' if len(row) > 1 else ''} instead of {width}"
    return "" if is_utf8("".join(row)) else _FOREIGN


_FOREIGN = "characters that are not UTF-8"


def is_utf8(text: str) -> bool:
    """Whether what `surrogateescape` has decoded was UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _said(error: csv.Error) -> str:
    if "unexpected end" in str(error):
        return "a quote that is never closed"
    if "field limit" in str(error):
        return f"a quote that is not closed within {_LONGEST_FIELD:,} characters, or a longer field"
    return f"{error}"


def _is_of_lines(text: TextIO) -> bool:
    """Whether one of the first lines is an object by itself."""
    first = islice((line for line in _lines(text) if line.strip(_BLANK)), 3)
    try:
        return any(not _fault_of_line(line) for line in first)
    except csv.Error:
        return False


def _broken_lines(text: TextIO) -> list[BadRows]:
    found = _Tally()
    number = 0
    try:
        for number, line in enumerate(_lines(text), 1):
            if line.strip(_BLANK) and (fault := _fault_of_line(line)):
                found.note(fault, number)
    except csv.Error as error:
        found.note(f"{error}", number + 1)
    except UNREADABLE:
        pass  # told by DuckDB's own words
    return found.bad_rows(Place.LINE)


def _fault_of_line(line: str) -> str:
    if not is_utf8(line):
        return _FOREIGN
    try:
        value = json.loads(line.lstrip("\ufeff"), parse_int=float)
    except ValueError:
        return "no whole JSON object"
    except RecursionError:
        return "lists or objects nested too deeply"
    return "" if isinstance(value, dict) else "no JSON object"


def _broken_array(text: TextIO) -> list[BadRows]:
    whole = text.read(_MOST + 1)
    if len(whole) > _MOST:
        return []
    found = _Tally()
    try:
        values: Iterable[object] = json.loads(whole, parse_int=float)
    except json.JSONDecodeError as error:
        found.note(f"no JSON ({error.msg}, column {error.colno})", error.lineno)
        return found.bad_rows(Place.LINE)
    for number, value in enumerate(values, 1):
        if not isinstance(value, dict):
            found.note("no JSON object", number)
    return found.bad_rows(Place.RECORD)
