"""One load into DuckDB, from its query to its commit: an open transaction is what is staged."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import duckdb
from sqlglot import exp

from convergence.errors import StepFailed, WarehouseError
from convergence.model.cancel import CancelToken
from convergence.model.load import LoadKey, SourceState
from convergence.model.money import Totals, totals_to_json
from convergence.model.restatement import Change
from convergence.model.table import Column, TableSchema
from convergence.warehouse.base import (
    LoadRecord,
    Result,
    StagedTotals,
    StageRequest,
    WriteMode,
)
from convergence.warehouse.duckdb import changes, derived, parts, tables
from convergence.warehouse.duckdb.files import Shapes
from convergence.warehouse.duckdb.instances import Instances
from convergence.warehouse.duckdb.interrupt import interruptible
from convergence.warehouse.duckdb.reading import Prepared, plain_value, prepare
from convergence.warehouse.duckdb.sums import TableSums, source_sums, table_sums
from convergence.warehouse.duckdb.trouble import (
    changed_while_read,
    check_unchanged,
    explain_failure,
)
from convergence.warehouse.duckdb.types import bigquery_columns, described
from convergence.warehouse.locks import Part, PartLocks
from convergence.warehouse.schemas import load_schema
from convergence.warehouse.sql import fill, names
from convergence.warehouse.sql.statement import parse

LOADS = "x_meta_loads"


@dataclass(slots=True, eq=False, kw_only=True)
class StagedLoad:
    """Rows in a transaction that is still open, and all that it holds."""

    request: StageRequest
    cursor: duckdb.DuckDBPyConnection
    prepared: Prepared
    statement: str
    columns: tuple[Column, ...]
    rows: int
    previous: TableSums
    holds: ExitStack
    totals: StagedTotals | None = None
    is_open: bool = True
    is_published: bool = False

    @property
    def key(self) -> LoadKey:
        return self.request.key


class Loads:
    """The acts of a load, over the instances of all datasets."""

    def __init__(self, instances: Instances, locks: PartLocks, shapes: Shapes) -> None:
        self._instances = instances
        self._locks = locks
        self._shapes = shapes

    def stage(
        self, request: StageRequest, cancel: CancelToken, after: StagedLoad | None = None
    ) -> StagedLoad:
        """Delete what is replaced and insert the new rows; the transaction, `after`'s if it is
        given, stays open.
        """
        tree = fill.fill(request.sql, request.names, request.parameters)
        statement = tree.sql("bigquery", pretty=True)
        resolved = names.resolve(tree, request.scope)
        day = request.key.day if parts.is_billing_day(request) else None
        with ExitStack() as holds:
            if after is None:
                lent = self._instances.lend(request.dataset, with_sources=True, check=cancel.check)
                cursor = holds.enter_context(lent)
            else:
                self._check_open(after)
                cursor = after.cursor
            self._make_tables(request, cursor, cancel)
            holds.enter_context(self._locks.hold(_part(request), cancel.check))
            prepared = prepare(cursor, request.dataset, resolved, shapes=self._shapes, day=day)
            with self._explained(request, prepared, cursor), interruptible(cursor, cancel):
                staged = _write(request, prepared, cursor, statement, begins=after is None)
            staged.holds = holds.pop_all()
            return staged

    def _make_tables(
        self, request: StageRequest, cursor: duckdb.DuckDBPyConnection, cancel: CancelToken
    ) -> None:
        """What is missing, while nobody writes to the table; a day of it is held afterwards."""
        if request.schema is not None and not _are_there(cursor, parts.target(request)):
            with self._locks.hold(Part(request.dataset, request.table), cancel.check):
                _ensure_tables(request, {}, cursor)

    def totals(self, staged: StagedLoad, cancel: CancelToken) -> StagedTotals:
        """The sums of both sides. When they cannot be taken, the load is discarded."""
        self._check_open(staged)
        try:
            with (
                self._explained(staged.request, staged.prepared, staged.cursor),
                interruptible(staged.cursor, cancel),
            ):
                staged.totals = _totals(staged)
        finally:
            if staged.totals is None:
                self.discard(staged)
        return staged.totals

    def look(self, staged: StagedLoad, sql: str, cancel: CancelToken) -> Result:
        """Answer a statement within the open transaction. After a failure nothing is staged."""
        self._check_open(staged)
        request = staged.request
        resolved = names.resolve(parse(sql), request.scope)
        prepared = prepare(staged.cursor, request.dataset, resolved, shapes=self._shapes)
        with (
            self._explained(request, staged.prepared, staged.cursor),
            interruptible(staged.cursor, cancel),
        ):
            rows = staged.cursor.execute(prepared.sql).fetchall()
            columns = tuple(bigquery_columns(staged.cursor))
        plain = [tuple(plain_value(value) for value in row) for row in rows]
        return Result(columns=columns, rows=plain, truncated=False, sql=prepared.sql)

    def publish(self, loads: Sequence[tuple[StagedLoad, LoadRecord]]) -> None:
        """Commit the rows and their records together: one load, or all of a transaction."""
        if all(staged.is_published for staged, _ in loads):
            return
        last, _ = loads[-1]
        try:
            with self._explained(last.request, last.prepared, last.cursor):
                for staged, record in loads:
                    self._check_open(staged)
                    _insert_record(staged, _proven(staged), record)
                derived.refresh(last.cursor, parts.target(last.request), _replaced(loads))
                last.cursor.execute("COMMIT")
            for staged, _ in loads:
                staged.is_published = True
        finally:
            for staged, _ in reversed(loads):
                self.discard(staged)

    def discard(self, staged: StagedLoad) -> None:
        """Let go of all that is held; what is not committed is gone."""
        staged.is_open = False
        staged.holds.close()

    def _check_open(self, staged: StagedLoad) -> None:
        if not staged.is_open:
            raise WarehouseError(
                f"{staged.key.table} {staged.key.day}: nothing is staged any more",
                code="not_staged",
                hint="stage the load again",
            )

    @contextmanager
    def _explained(
        self, request: StageRequest, prepared: Prepared, cursor: duckdb.DuckDBPyConnection
    ) -> Iterator[None]:
        """Make DuckDB's errors StepFailed, after the transaction was rolled back."""
        try:
            yield
        except duckdb.Error as error:
            self._instances.note(request.dataset, error)
            _roll_back(cursor)
            where = f"{request.dataset}.{request.table}"
            raise explain_failure(cursor, error, where, prepared.sights) from error


def _replaced(loads: Sequence[tuple[StagedLoad, LoadRecord]]) -> exp.Expr | None:
    """Which rows of a bill are other ones now; None for loads that are not by its days."""
    if not all(parts.is_billing_day(staged.request) for staged, _ in loads):
        return None
    return exp.or_(*(parts.written(staged.request, staged.columns) for staged, _ in loads))


def _proven(staged: StagedLoad) -> StagedTotals:
    if staged.totals is None:
        raise WarehouseError("publish before totals: nothing is proven", code="not_proven")
    return staged.totals


def is_published(cursor: duckdb.DuckDBPyConnection, dataset: str, load_id: str) -> bool:
    """Whether the load's record is visible."""
    place = tables.table(dataset, LOADS)
    if not tables.exists(cursor, place):
        return False
    query = exp.select(exp.Count(this=exp.Star())).from_(place)
    query = query.where(exp.column("load_id").eq(exp.Placeholder()))
    return bool(cursor.execute(query.sql("duckdb"), [load_id]).fetchall()[0][0])


def _are_there(cursor: duckdb.DuckDBPyConnection, target: exp.Table) -> bool:
    """Whether the table is there, with all that is derived from it."""
    return tables.exists(cursor, target) and not any(_missing(cursor, target))


def _missing(cursor: duckdb.DuckDBPyConnection, target: exp.Table) -> Iterator[TableSchema]:
    """What is derived from the table and not there whole."""
    for schema in derived.of(target.name):
        if not tables.holds(cursor, derived.beside(target, schema.name), schema):
            yield schema


def _part(request: StageRequest) -> Part:
    """A day where the table stays as it is; otherwise the whole table."""
    is_day = request.mode is WriteMode.REPLACE_PARTITION and request.schema is not None
    return Part(request.dataset, request.table, request.key.day if is_day else None)


def _write(
    request: StageRequest,
    prepared: Prepared,
    cursor: duckdb.DuckDBPyConnection,
    statement: str,
    *,
    begins: bool,
) -> StagedLoad:
    query = parts.rows_of(prepared.sql)
    cursor.execute(query.limit(0).sql("duckdb"))
    given = described(cursor)
    columns = _ensure_tables(request, given, cursor)
    values = parts.values(request, given, columns)
    rows = query.select(*values.values(), append=False)
    if request.limit is not None:
        rows = rows.limit(request.limit)
    if begins:
        cursor.execute("BEGIN")
    if request.mode is WriteMode.MERGE:
        rows = parts.set_aside(cursor, request, rows, tuple(values))
    replaced = parts.replaced(request, columns)
    previous = table_sums(
        cursor, parts.target(request), columns, replaced, is_billing=parts.is_billing(request)
    )
    if previous.rows and _is_compared(request):
        changes.keep_old(cursor, parts.target(request), columns, replaced)
    cursor.execute(exp.delete(parts.target(request), where=replaced).sql("duckdb"))
    names_ = [exp.to_identifier(name, quoted=True) for name in values]
    insert = exp.insert(rows, parts.target(request), columns=names_, copy=False)
    count = cursor.execute(insert.sql("duckdb")).fetchall()[0][0]
    return StagedLoad(
        request=request,
        cursor=cursor,
        prepared=prepared,
        statement=statement,
        columns=columns,
        rows=count,
        previous=previous,
        holds=ExitStack(),
    )


def _ensure_tables(
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


def _totals(staged: StagedLoad) -> StagedTotals:
    request, cursor = staged.request, staged.cursor
    is_billing = parts.is_billing(request)
    written = table_sums(
        cursor,
        parts.target(request),
        staged.columns,
        parts.written(request, staged.columns),
        is_billing=is_billing,
    )
    if request.mode is WriteMode.REPLACE_PARTITION:
        _check_day(staged, written)
    source = None
    state = SourceState(
        files=tuple(shape.state for sight in staged.prepared.sights for shape in sight.to_read)
    )
    if is_billing:
        source, state = _source(staged)
    check_unchanged(staged.prepared.sights)
    return StagedTotals(
        rows=staged.rows,
        loaded=written.totals,
        source=source,
        previous=staged.previous.totals,
        previous_rows=staged.previous.rows,
        previous_hash=staged.previous.content_hash,
        content_hash=written.content_hash,
        state=state,
        matched=frozenset(shape.path for sight in staged.prepared.sights for shape in sight.shapes),
        sql=staged.statement,
        changes=_changes(staged, written),
    )


def _source(staged: StagedLoad) -> tuple[Totals, SourceState]:
    """The source's own sums: those of the survey, if its files are the same now."""
    sights, surveyed = staged.prepared.sights, staged.request.surveyed
    if surveyed is None:
        sums = source_sums(staged.cursor, sights, staged.request.table)
        return sums.totals, sums.state
    there = {shape.state for sight in sights for shape in sight.to_read}
    held = {replace(file, rows=0) for file in surveyed.state.files}
    if other := (there - surveyed.files) | (held - there):
        raise changed_while_read(sorted({file.path for file in other}))
    return surveyed.totals, surveyed.state


def _is_compared(request: StageRequest) -> bool:
    return request.with_changes and parts.is_billing_day(request)


def _changes(staged: StagedLoad, written: TableSums) -> tuple[Change, ...]:
    is_same = written.content_hash == staged.previous.content_hash
    if is_same or not _is_compared(staged.request):
        return ()
    return changes.of_day(
        staged.cursor,
        parts.target(staged.request),
        staged.columns,
        parts.written(staged.request, staged.columns),
        with_old=staged.previous.rows > 0,
    )


def _check_day(staged: StagedLoad, written: TableSums) -> None:
    """Rows that a reload of the day would not replace must not be published."""
    request = staged.request
    strays = []
    if written.rows != staged.rows or parts.is_billing(request):
        query = parts.strays(request, staged.columns)
        strays = staged.cursor.execute(query.sql("duckdb")).fetchall()
    if strays or written.rows != staged.rows:
        seen = ", ".join(f"{count} on {day}" for day, count in strays[:5])
        raise StepFailed(
            f"{request.table} {request.key.day}: rows fall on another day: {seen}",
            code="other_day",
            hint=f"filter the query by the day; {request.partition_by} must be the run's date",
        )


def _insert_record(staged: StagedLoad, totals: StagedTotals, record: LoadRecord) -> None:
    source = None if totals.source is None else json.dumps(totals_to_json(totals.source))
    row = {
        "load_id": record.load_id,
        "run_id": record.run_id,
        "attempt": record.attempt,
        "table_name": staged.key.table,
        "load_date": staged.key.day,
        "x_source": staged.key.source,
        "row_count": totals.rows,
        "totals": json.dumps(totals_to_json(totals.loaded)),
        "previous_totals": json.dumps(totals_to_json(totals.previous)),
        "source_totals": source,
        "source_state": json.dumps(totals.state.to_json()),
        "content_hash": totals.content_hash,
        "template_hash": record.template_hash,
        "is_sample": record.is_sample,
        "loaded_at": record.loaded_at,
    }
    values = exp.Values(expressions=[exp.Tuple(expressions=[exp.Placeholder() for _ in row])])
    place = tables.table(staged.request.dataset, LOADS)
    insert = exp.insert(
        values, place, columns=[exp.to_identifier(name, quoted=True) for name in row]
    )
    staged.cursor.execute(insert.sql("duckdb"), list(row.values()))


def _roll_back(cursor: duckdb.DuckDBPyConnection) -> None:
    try:
        cursor.execute("ROLLBACK")
    except duckdb.Error:
        return  # there was no transaction, or the instance is beyond use
