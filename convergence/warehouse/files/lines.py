"""CSV and JSON as lines of text: where a record begins, and which lines are none.

Read after a failure alone: DuckDB tells neither.
"""

import csv
import gzip
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TextIO

from convergence.warehouse.bad_rows import BadRows, Place

_MOST = 2**26
"""Bytes of an array of JSON that are read whole to find what is wrong with it."""
_UNREADABLE = (OSError, EOFError, ValueError, csv.Error)


def open_text(path: str, *, errors: str = "strict") -> TextIO:
    if path.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="", errors=errors)
    return Path(path).open(encoding="utf-8-sig", newline="", errors=errors)


def lines_of_csv(path: str, records: Sequence[int]) -> list[int]:
    """The lines at which records begin; the first record follows the header."""
    with open_text(path) as text:
        begins = (line for line, row in _numbered(text) if row)
        last = max(records, default=0)
        lines = list(islice(begins, last + 1))
    return [lines[record] for record in records]


def lines_of_json(path: str, records: Sequence[int]) -> list[int]:
    """The lines of records, one on each; none where they are not written so."""
    with open_text(path) as text:
        if not _is_of_lines(text):
            return []
        text.seek(0)
        given = (number for number, line in enumerate(text, 1) if line.strip("\ufeff \t\r\n"))
        lines = list(islice(given, max(records, default=0)))
    return [lines[record - 1] for record in records]


def broken_csv(path: str, width: int) -> list[BadRows]:
    """Lines that are no rows of a file with `width` columns."""
    found: dict[str, list[int]] = defaultdict(list)
    try:
        with open_text(path, errors="surrogateescape") as text:
            for line, row in _numbered(text):
                if isinstance(row, csv.Error):
                    found[_said(row)].append(line)
                elif row and (fault := _misfit(row, width)):
                    found[fault].append(line)
    except _UNREADABLE:
        pass  # what is wrong beyond that is told by DuckDB's own words
    return _as_bad(found)


def broken_json(path: str, size: int) -> list[BadRows]:
    """Lines, or records of an array, that are no objects."""
    try:
        with open_text(path, errors="surrogateescape") as text:
            if _is_of_lines(text):
                text.seek(0)
                return _as_bad(_broken_lines(text))
            text.seek(0)
            return _broken_array(text) if size <= _MOST else []
    except _UNREADABLE:
        return []


def _numbered(text: TextIO) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """Each row with the line at which it begins; last of all the error that ends the file."""
    rows = csv.reader(text, strict=True)
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
    return "a quote that is never closed" if "unexpected end" in str(error) else f"{error}"


def _is_of_lines(text: TextIO) -> bool:
    """Whether one of the first lines is an object by itself."""
    first = islice((line for line in text if line.strip("\ufeff \t\r\n")), 3)
    return any(not _fault_of_line(line) for line in first)


def _broken_lines(text: TextIO) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for number, line in enumerate(text, 1):
        if line.strip("\ufeff \t\r\n") and (fault := _fault_of_line(line)):
            found[fault].append(number)
    return found


def _fault_of_line(line: str) -> str:
    if not is_utf8(line):
        return _FOREIGN
    try:
        value = json.loads(line.lstrip("\ufeff"))
    except ValueError:
        return "no whole JSON object"
    return "" if isinstance(value, dict) else "no JSON object"


def _broken_array(text: TextIO) -> list[BadRows]:
    try:
        values = json.load(text)
    except json.JSONDecodeError as error:
        what = f"no JSON ({error.msg}, column {error.colno})"
        return [BadRows(what=what, rows=1, where=[error.lineno], place=Place.LINE)]
    wrong = [n for n, value in enumerate(values, 1) if not isinstance(value, dict)]
    if not wrong:
        return []
    return [BadRows(what="no JSON object", rows=len(wrong), where=wrong, place=Place.RECORD)]


def _as_bad(found: dict[str, list[int]]) -> list[BadRows]:
    return [
        BadRows(what=what, rows=len(lines), where=lines, place=Place.LINE)
        for what, lines in found.items()
    ]
