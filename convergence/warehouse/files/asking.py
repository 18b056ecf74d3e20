"""A question to an instance of DuckDB: it can only read, and errors are told of what was sent."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import duckdb

from convergence.errors import Invalid, StepFailed
from convergence.model.cancel import CancelToken
from convergence.warehouse.base import QueryLimits, Result, Scope
from convergence.warehouse.files.faults import told
from convergence.warehouse.files.interrupt import interruptible
from convergence.warehouse.files.reading import Prepared, fetched, plain_value
from convergence.warehouse.files.shapes import without_folders
from convergence.warehouse.files.types import bigquery_columns
from convergence.warehouse.sql.names import Resolved


@contextmanager
def asked(
    cursor: duckdb.DuckDBPyConnection,
    resolved: Resolved,
    scope: Scope,
    prepare: Callable[[], Prepared],
) -> Iterator[Prepared]:
    """While inside, the cursor runs the statement, and cannot write. Raises Invalid."""
    try:
        prepared = prepare()
    except StepFailed as failed:
        detail = failed.detail if scope.tenant_id is None else without_folders(failed.detail)
        raise Invalid(detail, code=failed.code, hint=failed.hint) from failed
    with told(resolved):
        cursor.execute("BEGIN TRANSACTION READ ONLY")
        yield prepared


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
    return Result(
        columns=tuple(bigquery_columns(cursor)),
        rows=[tuple(plain_value(value) for value in row) for row in rows[: limits.rows]],
        truncated=len(rows) > limits.rows,
        sql=prepared.sql,
    )
