"""What DuckDB says when a load goes wrong, as what happened, in which rows, and what to do.

The files are asked again for the rows, once a load has failed.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice

import duckdb
from sqlglot import exp

from convergence.errors import StepFailed, StepInterrupted
from convergence.model.cancel import CancelToken
from convergence.model.unit import broken_source
from convergence.warehouse.bad_rows import SHOWN, BadRows, Place, in_words, null_in
from convergence.warehouse.files import lines, search
from convergence.warehouse.files.export import Sight, relation
from convergence.warehouse.files.interrupt import interruptible
from convergence.warehouse.files.shapes import (
    FileShape,
    Format,
    changed_since,
    day_bounds,
    first_line,
)
from convergence.warehouse.schemas import gcp_export

_FULL = re.compile(
    r"No space left|File too large|disk quota|max_temp_directory_size", re.IGNORECASE
)
_NOT_NULL = re.compile(r'NOT NULL constraint failed: \S*?([^."\s]+)"?$', re.MULTILINE)
_TOO_LARGE = re.compile(r"overflow|out of range", re.IGNORECASE)
_Faults = Callable[[Sight, FileShape], str]
"""What is wrong with a file; empty when nothing is."""


def explain_failure(
    cursor: duckdb.DuckDBPyConnection,
    error: duckdb.Error,
    table: str,
    sights: Sequence[Sight],
    cancel: CancelToken | None = None,
) -> StepFailed:
    """The error to raise. The transaction must be over: files are read again to find bad rows.

    Raises the reason of `cancel`, which breaks that off.
    """
    text = str(error)
    if _FULL.search(text):
        return StepFailed(
            f"{table}: disk full: {first_line(error)}",
            code="disk_full",
            hint="free space under CDP_HOME, or TMPDIR with the tables in BigQuery, and run it "
            "again; the old rows are still in place",
        )
    if isinstance(error, duckdb.OutOfMemoryException):
        return StepFailed(
            f"{table}: out of memory: {first_line(error)}",
            code="out_of_memory",
            hint="raise CDP_MEMORY_LIMIT, or load less at once",
        )
    if isinstance(error, duckdb.TransactionException):
        return StepInterrupted(
            f"{table}: another write got in between: {first_line(error)}", code="write_conflict"
        )
    cancel = cancel or CancelToken()
    with interruptible(cursor, cancel):
        if match := _NOT_NULL.search(text):
            return null_in(table, [match[1]], rows_without(cursor, sights, [match[1]], cancel))
        return _source_trouble(cursor, error, sights, cancel) or StepFailed(
            f"{table}: the query failed: {first_line(error)}",
            code="query_failed",
            hint="cdp templates validate checks the template; cdp sql tries a query",
        )


def rows_without(
    cursor: duckdb.DuckDBPyConnection,
    sights: Iterable[Sight],
    columns: Sequence[str],
    cancel: CancelToken,
) -> str:
    """The rows of each file in which a column is NULL; empty when there is none."""
    known = {column.name for column in gcp_export().columns}
    wanted = [name for name in columns if name in known]

    def said(sight: Sight, shape: FileShape) -> str:
        return told_by_line(search.without(cursor, sight, shape, wanted), shape, cancel)

    return _by_file(sights, said)


def rows_of_day(cursor: duckdb.DuckDBPyConnection, sight: Sight, cancel: CancelToken) -> str:
    """The rows of the sight's day, file by file; empty when there is none."""
    moment, _ = day_bounds(sight.days[0])

    def said(sight: Sight, shape: FileShape) -> str:
        return told_by_line(search.used_since(cursor, sight, shape, moment), shape, cancel)

    return _by_file([sight], said)


def fault_in(
    cursor: duckdb.DuckDBPyConnection,
    sight: Sight,
    shape: FileShape,
    error: duckdb.Error,
    cancel: CancelToken,
) -> str:
    """What made the reading of a file fail, with its rows. Raises duckdb.InterruptException, and
    what the token says.
    """
    try:
        found = search.unreadable(cursor, sight, shape)
        if not found and _TOO_LARGE.search(str(error)):
            found = search.excessive(cursor, sight, shape)
    except duckdb.InterruptException:
        raise
    except duckdb.Error:
        said = in_words(search.broken(shape, cancel))
    else:
        said = told_by_line(found, shape, cancel)
    return said or first_line(error).removeprefix("Invalid Input Error: ")


def told_by_line(found: Sequence[BadRows], shape: FileShape, cancel: CancelToken) -> str:
    """Records by the lines at which they begin, where these can be told. Raises what the token
    says.
    """
    if shape.format is Format.PARQUET or not found:
        return in_words(found)
    lines_of = lines.lines_of_csv if shape.format is Format.CSV else lines.lines_of_json
    known = lines_of(shape.path, {row for bad in found for row in bad.where}, cancel)
    if not all(row in known for bad in found for row in bad.where):
        return in_words(found)
    return in_words(
        [replace(bad, where=[known[row] for row in bad.where], place=Place.LINE) for bad in found]
    )


def check_unchanged(sights: Iterable[Sight]) -> None:
    """Raise StepInterrupted when a file is another now than when it was looked at."""
    changed = [
        path for sight in sights for path in changed_since(shape.state for shape in sight.to_read)
    ]
    if changed:
        raise changed_while_read(changed)


def changed_while_read(paths: Sequence[str]) -> StepInterrupted:
    return StepInterrupted(
        f"changed while it was read: {', '.join(paths[:5])}",
        code="source_changed",
        hint="it is read again at the next attempt; let exports arrive under another name "
        "and rename them when they are whole",
    )


def _source_trouble(
    cursor: duckdb.DuckDBPyConnection,
    error: duckdb.Error,
    sights: Sequence[Sight],
    cancel: CancelToken,
) -> StepFailed | None:
    try:
        check_unchanged(sights)
    except StepInterrupted as changed:
        return changed
    for sight in sights:
        said = _by_file([sight], partial(_unreadable, cursor, cancel))
        if not said and _TOO_LARGE.search(str(error)):
            said = _by_file([sight], partial(_excess, cursor, cancel))
        if said:
            return broken_source(sight.source.table, said)
    return None


def _unreadable(
    cursor: duckdb.DuckDBPyConnection, cancel: CancelToken, sight: Sight, shape: FileShape
) -> str:
    """What goes wrong when this one file is read whole."""
    alone = Sight(source=sight.source, shapes=(shape,), days=sight.days)
    rows = relation(alone).subquery("rows_of_file")
    everything = exp.func("HASH", exp.column("rows_of_file"))
    query = exp.select(exp.func("MAX", everything)).from_(rows)
    try:
        cursor.execute(query.sql("duckdb")).fetchall()
    except duckdb.InterruptException:
        raise
    except duckdb.Error as error:
        return fault_in(cursor, sight, shape, error, cancel)
    return ""


def _excess(
    cursor: duckdb.DuckDBPyConnection, cancel: CancelToken, sight: Sight, shape: FileShape
) -> str:
    return told_by_line(search.excessive(cursor, sight, shape), shape, cancel)


def _by_file(sights: Iterable[Sight], faults: _Faults) -> str:
    """What is wrong with the first of the files that something is wrong with."""
    return "; ".join(islice(_files(sights, faults), SHOWN))


def _files(sights: Iterable[Sight], faults: _Faults) -> Iterator[str]:
    for sight in sights:
        for shape in sight.to_read:
            try:
                said = faults(sight, shape)
            except duckdb.InterruptException:
                raise
            except duckdb.Error:
                continue  # it is not this file that made the load fail as it did
            if said:
                yield f"{shape.path}: {said}"
