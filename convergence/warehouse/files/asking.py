"""A question to an instance of DuckDB: it can only read, and errors are told of what was sent."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import duckdb

from convergence.errors import (
    CdpError,
    Invalid,
    StepFailed,
    StepInterrupted,
    Unavailable,
    WarehouseError,
)
from convergence.model.cancel import CancelToken
from convergence.warehouse.files.faults import told
from convergence.warehouse.files.interrupt import interruptible
from convergence.warehouse.files.reading import Prepared, fetched, plain_rows
from convergence.warehouse.files.trouble import check_unchanged
from convergence.warehouse.files.types import bigquery_columns
from convergence.warehouse.folders import without_folders
from convergence.warehouse.question import QueryLimits, Result, Scope
from convergence.warehouse.sql.names import Resolved


@contextmanager
def asked(
    cursor: duckdb.DuckDBPyConnection,
    resolved: Resolved,
    scope: Scope,
    prepare: Callable[[], Prepared],
) -> Iterator[Prepared]:
    """While inside, the cursor runs the statement, and cannot write.

    Raises Invalid, WarehouseError, and Unavailable for files that have become others meanwhile.
    """
    try:
        prepared = _prepared(prepare)
        with _unchanged(prepared), told(resolved):
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            yield prepared
    except CdpError as error:
        if scope.tenant_id is not None:
            named = [ref.source for ref in resolved.refs if ref.source is not None]
            error.detail = without_folders(error.detail, named)
        raise


def _prepared(prepare: Callable[[], Prepared]) -> Prepared:
    try:
        return prepare()
    except StepFailed as failed:
        raise Invalid(failed.detail, code=failed.code, hint=failed.hint) from failed


@contextmanager
def _unchanged(prepared: Prepared) -> Iterator[None]:
    """What breaks because a file was renamed or written is no failure of the warehouse."""
    try:
        yield
    except WarehouseError as broken:
        try:
            check_unchanged(prepared.sights)
        except StepInterrupted as changed:
            raise Unavailable(changed.detail, code=changed.code, hint="ask again") from broken
        raise


def answer(
    cursor: duckdb.DuckDBPyConnection,
    prepared: Prepared,
    limits: QueryLimits,
    cancel: CancelToken | None,
) -> Result:
    """Raises Invalid, Cancelled."""
    with interruptible(cursor, cancel, limits.seconds):
        cursor.execute(prepared.sql)
        rows = list(fetched(cursor, limits))
    columns = tuple(bigquery_columns(cursor))
    return Result(
        columns=columns,
        rows=plain_rows(rows[: limits.rows], columns),
        truncated=len(rows) > limits.rows,
        sql=prepared.sql,
    )
