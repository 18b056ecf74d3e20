"""Rows of one load, or of many days at once, in a transaction that is still open."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import duckdb
from sqlglot import exp

from convergence.model.load import LoadKey
from convergence.model.restatement import Change
from convergence.model.table import Column, TableSchema
from convergence.warehouse import requested
from convergence.warehouse.duckdb import changes, derived, parts, tables
from convergence.warehouse.duckdb.sums import NOTHING, Slice, TableSums, sums_by, table_sums
from convergence.warehouse.files.reading import Prepared
from convergence.warehouse.files.types import described
from convergence.warehouse.schemas import load_schema
from convergence.warehouse.sql import daily
from convergence.warehouse.staged import StagedTotals, StageRequest, WriteMode

LOADS = "x_meta_loads"


@dataclass(slots=True, eq=False, kw_only=True)
class Transaction:
    """What was written in one go, and all that is held until it is published or discarded."""

    cursor: duckdb.DuckDBPyConnection
    prepared: Prepared
    columns: tuple[Column, ...]
    loads: "list[StagedLoad]" = field(default_factory=list)
    holds: ExitStack = field(default_factory=ExitStack)
    is_open: bool = True
    sources_are_same: bool = False
    """Whether the sources were as they had been, when all that is to be read of them was read."""
    is_published: bool = False


@dataclass(slots=True, eq=False, kw_only=True)
class StagedLoad:
    """The rows of one load in its transaction; `written` are their sums, `changes` what is other
    than it was, where that is known.
    """

    request: StageRequest
    transaction: Transaction
    statement: str
    rows: int
    previous: TableSums = NOTHING
    written: TableSums | None = None
    changes: tuple[Change, ...] | None = None
    totals: StagedTotals | None = None

    @property
    def key(self) -> LoadKey:
        return self.request.key

    @property
    def is_unchanged(self) -> bool:
        return self.written is not None and self.written.is_of_same_rows(self.previous)


def write(
    request: StageRequest, statement: str, prepared: Prepared, cursor: duckdb.DuckDBPyConnection
) -> Transaction:
    """Delete what the load replaces and insert its rows."""
    query, values, columns = _to_insert(request, prepared, cursor)
    rows = query.select(*values.values(), append=False)
    if request.limit is not None:
        rows = rows.limit(request.limit)
    cursor.execute("BEGIN")
    if request.mode is WriteMode.MERGE:
        rows = parts.set_aside(cursor, request, rows, tuple(values))
    old = slice_of(request, columns, parts.replaced(request, columns))
    previous = table_sums(cursor, old)
    if is_compared(request):
        changes.keep_old(cursor, old, parts.day_column(request))
    cursor.execute(exp.delete(old.table, where=old.where).sql("duckdb"))
    count = _insert(request, rows, tuple(values), cursor)
    transaction = Transaction(cursor=cursor, prepared=prepared, columns=columns)
    transaction.loads.append(
        StagedLoad(
            request=request,
            transaction=transaction,
            statement=statement,
            rows=count,
            previous=previous,
        )
    )
    return transaction


def write_days(
    requests: Sequence[StageRequest],
    statements: Sequence[str],
    prepared: Prepared,
    cursor: duckdb.DuckDBPyConnection,
) -> Transaction:
    """Delete the rows of the days and insert those that take their place: each row's own day says
    which it is of.
    """
    first = requests[0]
    query, values, columns = _to_insert(first, prepared, cursor)
    day = parts.day_column(first)
    values[first.partition_by] = parts.day_of_row()
    rows = query.select(*values.values(), append=False)
    cursor.execute("BEGIN")
    of_days = slice_of(first, columns, parts.days_written(requests))
    previous = sums_by(day, cursor, of_days)
    if compared := [request for request in requests if is_compared(request)]:
        changes.keep_old(cursor, replace(of_days, where=parts.days_written(compared)), day)
    if previous:
        cursor.execute(exp.delete(of_days.table, where=of_days.where).sql("duckdb"))
    count = _insert(first, rows, tuple(values), cursor)
    written = sums_by(day, cursor, of_days)
    if sum(each.rows for each in written.values()) != count:
        raise daily.not_together(first, "rows fall on other days")
    transaction = Transaction(cursor=cursor, prepared=prepared, columns=columns)
    for request, statement in zip(requests, statements, strict=True):
        sums = written.get(request.key.day, NOTHING)
        transaction.loads.append(
            StagedLoad(
                request=request,
                transaction=transaction,
                statement=statement,
                rows=sums.rows,
                previous=previous.get(request.key.day, NOTHING),
                written=sums,
            )
        )
    return transaction


def slice_of(request: StageRequest, columns: tuple[Column, ...], where: exp.Expr) -> Slice:
    return Slice(
        table=parts.target(request),
        columns=columns,
        where=where,
        is_billing=requested.is_billing(request),
    )


def is_compared(request: StageRequest) -> bool:
    return request.with_changes and requested.is_billing_day(request)


def are_there(cursor: duckdb.DuckDBPyConnection, target: exp.Table) -> bool:
    """Whether the table is there, with all that is derived from it."""
    return tables.exists(cursor, target) and not any(_missing(cursor, target))


def ensure_tables(
    request: StageRequest, given: parts.Given, cursor: duckdb.DuckDBPyConnection
) -> tuple[Column, ...]:
    """Make the tables that are not there; a table without a schema grows with its query."""
    record = tables.table(request.dataset, LOADS)
    if not tables.exists(cursor, record):
        tables.create(cursor, record, load_schema(LOADS))
    target = parts.target(request)
    schema = request.schema or parts.inferred(request, given)
    if not tables.exists(cursor, target):
        tables.create(cursor, target, schema)
    elif request.schema is None:
        tables.widen(cursor, target, schema)
    for each in _missing(cursor, target):
        tables.create(cursor, derived.beside(target, each.name), each)
    return tables.columns(cursor, target)


def _missing(cursor: duckdb.DuckDBPyConnection, target: exp.Table) -> Iterator[TableSchema]:
    """What is derived from the table and not there whole."""
    for schema in derived.of(target.name):
        if not tables.holds(cursor, derived.beside(target, schema.name), schema):
            yield schema


def _to_insert(
    request: StageRequest, prepared: Prepared, cursor: duckdb.DuckDBPyConnection
) -> tuple[exp.Select, dict[str, exp.Expr], tuple[Column, ...]]:
    """The query's rows, what of them to insert by column, and the columns of the table."""
    query = parts.rows_of(prepared.sql)
    cursor.execute(query.limit(0).sql("duckdb"))
    given = described(cursor)
    columns = ensure_tables(request, given, cursor)
    return query, parts.values(request, given, columns), columns


def _insert(
    request: StageRequest,
    rows: exp.Select,
    names: Sequence[str],
    cursor: duckdb.DuckDBPyConnection,
) -> int:
    quoted = [exp.to_identifier(name, quoted=True) for name in names]
    insert = exp.insert(rows, parts.target(request), columns=quoted, copy=False)
    return int(cursor.execute(insert.sql("duckdb")).fetchall()[0][0])
