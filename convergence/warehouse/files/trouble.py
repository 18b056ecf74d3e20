"""What DuckDB says when a load goes wrong, as what happened, where, and what to do."""

import re
from collections.abc import Sequence

import duckdb
from sqlglot import exp

from convergence.errors import StepFailed, StepInterrupted
from convergence.warehouse.files.export import Sight, relation
from convergence.warehouse.files.shapes import FileShape, changed_since, fault_in, first_line

_FULL = re.compile(
    r"No space left|File too large|disk quota|max_temp_directory_size", re.IGNORECASE
)
_NOT_NULL = re.compile(r'NOT NULL constraint failed: \S*?([^."\s]+)"?$', re.MULTILINE)


def explain_failure(
    cursor: duckdb.DuckDBPyConnection, error: duckdb.Error, table: str, sights: tuple[Sight, ...]
) -> StepFailed:
    """The error to raise. The transaction must be over: files are read again to find a bad one."""
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
    if match := _NOT_NULL.search(text):
        return StepFailed(
            f"{table}: NULL in the required column {match[1]}",
            code="required_null",
            hint="look for rows without it in the source, or give it a value in the query",
        )
    if isinstance(error, duckdb.TransactionException):
        return StepInterrupted(
            f"{table}: another write got in between: {first_line(error)}", code="write_conflict"
        )
    return _source_trouble(cursor, sights) or StepFailed(
        f"{table}: the query failed: {first_line(error)}",
        code="query_failed",
        hint="cdp templates validate checks the template; cdp sql tries a query",
    )


def check_unchanged(sights: tuple[Sight, ...]) -> None:
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
    cursor: duckdb.DuckDBPyConnection, sights: tuple[Sight, ...]
) -> StepFailed | None:
    try:
        check_unchanged(sights)
    except StepInterrupted as changed:
        return changed
    for sight in sights:
        for shape in sight.to_read:
            fault = _fault(cursor, sight, shape)
            if fault:
                return StepFailed(
                    f"source {sight.source.table} cannot be read: {shape.path}: {fault}",
                    code="source_broken",
                    hint="export the file again, or take it out of the source's folder",
                )
    return None


def _fault(cursor: duckdb.DuckDBPyConnection, sight: Sight, shape: FileShape) -> str:
    """What goes wrong when this one file is read whole."""
    alone = Sight(source=sight.source, shapes=(shape,), days=sight.days)
    rows = relation(alone).subquery("rows_of_file")
    everything = exp.func("HASH", exp.column("rows_of_file"))
    query = exp.select(exp.func("MAX", everything)).from_(rows)
    try:
        cursor.execute(query.sql("duckdb")).fetchall()
    except duckdb.Error as error:
        return fault_in(shape, error)
    return ""
