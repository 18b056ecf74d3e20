"""One load into DuckDB, from its query to its commit: an open transaction is what is staged."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import duckdb
from sqlglot import exp

from convergence.errors import WarehouseError
from convergence.model.cancel import CancelToken
from convergence.model.money import totals_to_json
from convergence.warehouse import requested
from convergence.warehouse.duckdb import derived, parts, tables
from convergence.warehouse.duckdb.instances import Instances
from convergence.warehouse.duckdb.proof import totals_of
from convergence.warehouse.duckdb.reading import prepare
from convergence.warehouse.duckdb.written import (
    LOADS,
    StagedLoad,
    Transaction,
    are_there,
    ensure_tables,
    write,
    write_days,
)
from convergence.warehouse.files.interrupt import interruptible
from convergence.warehouse.files.reading import Prepared, plain_rows
from convergence.warehouse.files.shapes import Shapes
from convergence.warehouse.files.trouble import explain_failure
from convergence.warehouse.files.types import bigquery_columns
from convergence.warehouse.folders import facts_without_folders
from convergence.warehouse.locks import Part, PartLocks
from convergence.warehouse.question import Parameters, Result
from convergence.warehouse.sql import daily, fill, names
from convergence.warehouse.staged import LoadRecord, StagedTotals, StageRequest, WriteMode


class Loads:
    """The acts of a load, over the instances of all datasets."""

    def __init__(self, instances: Instances, locks: PartLocks, shapes: Shapes) -> None:
        self._instances = instances
        self._locks = locks
        self._shapes = shapes

    def stage(self, request: StageRequest, cancel: CancelToken) -> StagedLoad:
        """Delete what is replaced and insert the new rows; the transaction stays open."""
        tree = fill.fill(request.sql, request.names, request.parameters)
        statement = tree.sql("bigquery", pretty=True)
        (staged,) = self._stage([request], tree, partial(write, request, statement), cancel)
        return staged

    def stage_together(
        self, requests: Sequence[StageRequest], cancel: CancelToken
    ) -> list[StagedLoad]:
        """Days by one statement: what they have in common is read once."""
        trees = [fill.fill(each.sql, each.names, each.parameters) for each in requests]
        days = [each.key.day for each in requests]
        tree = daily.of_all_days(list(zip(trees, days, strict=True))[:2])
        if tree is None or not parts.differ_in_day_alone(requests):
            raise daily.not_together(requests[0], "they are not days of one query")
        statements = [each.sql("bigquery", pretty=True, copy=False) for each in trees]
        return self._stage(requests, tree, partial(write_days, requests, statements), cancel)

    def _stage(
        self,
        requests: Sequence[StageRequest],
        tree: exp.Query,
        write_: Callable[[Prepared, duckdb.DuckDBPyConnection], Transaction],
        cancel: CancelToken,
    ) -> list[StagedLoad]:
        first = requests[0]
        resolved = names.resolve(tree, first.scope)
        days = [each.key.day for each in requests] if requested.is_billing_day(first) else []
        with ExitStack() as holds:
            lent = self._instances.lend(first.dataset, with_sources=True, check=cancel.check)
            cursor = holds.enter_context(lent)
            self._make_tables(first, cursor, cancel)
            holds.enter_context(self._locks.hold_all(map(_part, requests), cancel.check))
            with interruptible(cursor, cancel):
                prepared = prepare(
                    cursor, first.dataset, resolved, shapes=self._shapes, days=days, cancel=cancel
                )
            with (
                self._explained(first, prepared, cursor, cancel),
                interruptible(cursor, cancel),
            ):
                transaction = write_(prepared, cursor)
            transaction.holds = holds.pop_all()
        return transaction.loads

    def _make_tables(
        self, request: StageRequest, cursor: duckdb.DuckDBPyConnection, cancel: CancelToken
    ) -> None:
        """What is missing, while nobody writes to the table; a day of it is held afterwards."""
        if request.schema is not None and not are_there(cursor, parts.target(request)):
            with self._locks.hold(Part(request.dataset, request.table), cancel.check):
                ensure_tables(request, {}, cursor)

    def totals(self, staged: StagedLoad, cancel: CancelToken) -> StagedTotals:
        """The sums of both sides. When they cannot be taken, the load is discarded."""
        try:
            with self._going_on(staged, cancel):
                staged.totals = totals_of(staged, cancel)
        finally:
            if staged.totals is None:
                self.discard(staged)
        return staged.totals

    def look(
        self, staged: StagedLoad, sql: str, cancel: CancelToken, parameters: Parameters
    ) -> Result:
        """Answer a statement within the open transaction. After a failure nothing is staged."""
        request, cursor = staged.request, staged.transaction.cursor
        resolved = names.read(sql, request.scope, parameters=frozenset(parameters))
        with self._going_on(staged, cancel):
            prepared = prepare(cursor, request.dataset, resolved, shapes=self._shapes)
            rows = cursor.execute(prepared.sql, dict(parameters)).fetchall()
            columns = tuple(bigquery_columns(cursor))
        return Result(
            columns=columns, rows=plain_rows(rows, columns), truncated=False, sql=prepared.sql
        )

    def publish(self, loads: Sequence[tuple[StagedLoad, LoadRecord]]) -> None:
        """Commit the rows and their records: all that is in the transaction."""
        last, _ = loads[-1]
        transaction = last.transaction
        if transaction.is_published:
            return
        try:
            self._check_open(last)
            if [staged for staged, _ in loads] != transaction.loads:
                raise WarehouseError(
                    "published apart from what it was staged with", code="not_proven"
                )
            with self._explained(last.request, transaction.prepared, transaction.cursor):
                _insert_records(loads)
                derived.refresh(
                    transaction.cursor, parts.target(last.request), _replaced(transaction)
                )
                transaction.cursor.execute("COMMIT")
            transaction.is_published = True
        finally:
            self.discard(last)

    def discard(self, staged: StagedLoad) -> None:
        """Let go of all that is held; what is not committed is gone, of all the transaction."""
        staged.transaction.is_open = False
        staged.transaction.holds.close()

    def _check_open(self, staged: StagedLoad) -> None:
        if not staged.transaction.is_open:
            raise WarehouseError(
                f"{staged.key.table} {staged.key.day}: nothing is staged any more",
                code="not_staged",
                hint="stage the load again",
            )

    @contextmanager
    def _going_on(self, staged: StagedLoad, cancel: CancelToken) -> Iterator[None]:
        """Within the open transaction, to be interrupted by `cancel`."""
        self._check_open(staged)
        transaction = staged.transaction
        with (
            self._explained(staged.request, transaction.prepared, transaction.cursor, cancel),
            interruptible(transaction.cursor, cancel),
        ):
            yield

    @contextmanager
    def _explained(
        self,
        request: StageRequest,
        prepared: Prepared,
        cursor: duckdb.DuckDBPyConnection,
        cancel: CancelToken | None = None,
    ) -> Iterator[None]:
        """Make DuckDB's errors StepFailed, after the transaction was rolled back."""
        try:
            yield
        except duckdb.Error as error:
            self._instances.note(request.dataset, error)
            _roll_back(cursor)
            where = f"{request.dataset}.{request.table}"
            raise explain_failure(cursor, error, where, prepared.sights, cancel) from error


def _replaced(transaction: Transaction) -> exp.Expr | None:
    """Which rows of a bill are other ones now; None for loads that are not by its days."""
    requests = [staged.request for staged in transaction.loads]
    return parts.days_written(requests) if all(map(requested.is_billing_day, requests)) else None


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


def _part(request: StageRequest) -> Part:
    """A day where the table stays as it is; otherwise the whole table."""
    is_day = request.mode is WriteMode.REPLACE_PARTITION and request.schema is not None
    return Part(request.dataset, request.table, request.key.day if is_day else None)


def _insert_records(loads: Sequence[tuple[StagedLoad, LoadRecord]]) -> None:
    rows = [_record(staged, _proven(staged), record) for staged, record in loads]
    row = exp.Tuple(expressions=[exp.Placeholder() for _ in rows[0]])
    values = exp.Values(expressions=[row.copy() for _ in rows])
    first, _ = loads[0]
    place = tables.table(first.request.dataset, LOADS)
    names_ = [exp.to_identifier(name, quoted=True) for name in rows[0]]
    insert = exp.insert(values, place, columns=names_, copy=False)
    given = [value for row in rows for value in row.values()]
    first.transaction.cursor.execute(insert.sql("duckdb"), given)


def _record(staged: StagedLoad, totals: StagedTotals, record: LoadRecord) -> dict[str, object]:
    source = None if totals.source is None else json.dumps(totals_to_json(totals.source))
    return {
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
        "source_state": json.dumps(
            facts_without_folders(totals.state.to_json(), staged.request.scope.sources)
        ),
        "content_hash": totals.content_hash,
        "template_hash": record.template_hash,
        "is_sample": record.is_sample,
        "loaded_at": record.loaded_at,
    }


def _roll_back(cursor: duckdb.DuckDBPyConnection) -> None:
    try:
        cursor.execute("ROLLBACK")
    except duckdb.Error:
        return  # there was no transaction, or the instance is beyond use
