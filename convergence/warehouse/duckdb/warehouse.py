"""The warehouse on DuckDB: a file per dataset under `home`/warehouse, one process at a time."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import BinaryIO, ClassVar

import duckdb
from sqlglot import exp
from typing_extensions import override

from convergence.errors import NotFound, WarehouseError
from convergence.model import drift
from convergence.model.cancel import CancelToken
from convergence.model.load import FileState
from convergence.model.source import GrantedSource
from convergence.model.table import Column, TableSchema
from convergence.model.unit import Unit
from convergence.warehouse import requested
from convergence.warehouse.base import Rows, Upsert, Warehouse
from convergence.warehouse.duckdb import derived, infile, reshape, staging, tables
from convergence.warehouse.duckdb.infile import InFile
from convergence.warehouse.duckdb.instances import Folders, Instances
from convergence.warehouse.duckdb.reading import prepare
from convergence.warehouse.duckdb.staging import Loads
from convergence.warehouse.duckdb.written import StagedLoad
from convergence.warehouse.files.asking import answer, asked
from convergence.warehouse.files.faults import told
from convergence.warehouse.files.instance import alone
from convergence.warehouse.files.interrupt import interruptible
from convergence.warehouse.files.outfile import write_answer
from convergence.warehouse.files.reading import Prepared, explained, files_of, look_at
from convergence.warehouse.files.shapes import Shapes, first_line
from convergence.warehouse.files.source_files import folders_of, kind_by_files
from convergence.warehouse.files.survey import survey
from convergence.warehouse.files.trouble import rows_of_day
from convergence.warehouse.locks import Part, PartLocks
from convergence.warehouse.question import (
    Explained,
    FileForm,
    Parameters,
    QueryLimits,
    Result,
    Scope,
)
from convergence.warehouse.schemas import central_schemas, load_schema
from convergence.warehouse.sql import dialect, fill, names
from convergence.warehouse.sql.statement import parse, pointing
from convergence.warehouse.staged import LoadRecord, Staged, StagedTotals, StageRequest


class DuckdbWarehouse(Warehouse):
    """`folders` gives the folders that a dataset's tenant may read files from, at this moment."""

    loads_together: ClassVar[bool] = True

    def __init__(
        self,
        home: Path,
        *,
        folders: Folders,
        memory_limit: str = "1GB",
        threads: int = 2,
        max_open: int = 32,
    ) -> None:
        self._instances = Instances(
            home, folders, memory_limit=memory_limit, threads=threads, max_open=max_open
        )
        self._locks = PartLocks()
        self._shapes = Shapes()
        self._loads = Loads(self._instances, self._locks, self._shapes)

    @override
    def check(self) -> None:
        try:
            self._instances.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._instances.root) as probe:
                probe.write(b"\0" * 4096)
        except OSError as error:
            raise WarehouseError(
                f"{self._instances.root} cannot be written to: {error.strerror}",
                code="warehouse_not_writable",
                hint="check the owner and the free space of CDP_HOME",
            ) from error
        with alone(()) as (cursor, _):
            dialect.self_test(lambda sql: cursor.execute(sql).fetchall()[0][0])

    @override
    def check_new_datasets(self) -> str:
        self.check()
        return ""

    @override
    def ensure_dataset(self, dataset: str) -> bool:
        is_new = not self._instances.exists(dataset)
        with self._instances.lend(dataset, create=True) as cursor:
            for schema in central_schemas().values():
                self._ensure(cursor, dataset, schema)
        return is_new

    @override
    def drop_dataset(self, dataset: str) -> None:
        self._instances.drop(dataset)

    @override
    def copy_dataset(self, dataset: str, path: Path) -> None:
        with told():
            self._instances.copy(dataset, path)

    @override
    def ensure_table(self, dataset: str, schema: TableSchema) -> bool:
        with self._instances.lend(dataset) as cursor, told():
            return self._ensure(cursor, dataset, schema)

    @override
    def live(self, dataset: str, schema: TableSchema) -> TableSchema | None:
        with self._instances.lend(dataset) as cursor, told():
            return tables.live(cursor, _place(dataset, schema.name), schema)

    @override
    def evolve(
        self, dataset: str, schema: TableSchema, *, approved: bool = False, is_plan: bool = False
    ) -> Sequence[str]:
        place = _place(dataset, schema.name)
        if schema.query and not is_plan:
            self.ensure_table(dataset, load_schema(derived.base_of(schema)))
        with (
            self._instances.lend(dataset) as cursor,
            self._locks.hold(Part(dataset, derived.base_of(schema))),
            told(),
        ):
            live = tables.live(cursor, place, schema)
            aimed = drift.aim(schema, live, approved=approved)
            statements = reshape.statements(place, live, aimed)
            if not is_plan:
                tables.run(cursor, statements)
        return statements

    @override
    def columns(self, dataset: str, table: str) -> tuple[Column, ...]:
        with self._instances.lend(dataset) as cursor:
            return tables.columns(cursor, _place(dataset, table))

    @override
    def stage(self, request: StageRequest, cancel: CancelToken) -> Staged:
        return self._loads.stage(request, cancel)

    @override
    def stage_together(
        self, requests: Sequence[StageRequest], cancel: CancelToken
    ) -> Sequence[Staged]:
        return self._loads.stage_together(requests, cancel)

    @override
    def totals(self, staged: Staged, cancel: CancelToken) -> StagedTotals:
        return self._loads.totals(_own(staged), cancel)

    @override
    def look(
        self,
        staged: Staged,
        sql: str,
        cancel: CancelToken,
        parameters: Parameters | None = None,
    ) -> Result:
        return self._loads.look(_own(staged), sql, cancel, parameters or {})

    @override
    def publish(self, staged: Staged, record: LoadRecord) -> None:
        self._loads.publish([(_own(staged), record)])

    @override
    def publish_together(self, loads: Sequence[tuple[Staged, LoadRecord]]) -> None:
        self._loads.publish([(_own(staged), record) for staged, record in loads])

    @override
    def discard(self, staged: Staged) -> None:
        self._loads.discard(_own(staged))

    @override
    def is_published(self, dataset: str, load_id: str) -> bool:
        with self._instances.lend(dataset) as cursor:
            return staging.is_published(cursor, dataset, load_id)

    @override
    def is_visible(self, dataset: str, load_id: str) -> bool:
        return self.is_published(dataset, load_id)

    @override
    def query(
        self, scope: Scope, sql: str, limits: QueryLimits, cancel: CancelToken | None = None
    ) -> Result:
        with self._asked(scope, sql, most=limits.rows + 1) as (cursor, prepared, _):
            return answer(cursor, prepared, limits, cancel)

    @override
    def export(
        self,
        scope: Scope,
        sql: str,
        form: FileForm,
        limits: QueryLimits,
        cancel: CancelToken | None = None,
    ) -> BinaryIO:
        with (
            self._asked(scope, sql) as (cursor, prepared, scratch),
            interruptible(cursor, cancel, limits.seconds),
        ):
            return write_answer(cursor, prepared.sql, form, scratch, limits.file_bytes)

    @override
    def import_rows(
        self,
        dataset: str,
        schema: TableSchema,
        file: BinaryIO,
        form: FileForm,
        *,
        day: date | None = None,
    ) -> None:
        place = _place(dataset, schema.name)
        given = InFile(file=file, form=form, scratch=self._instances.scratch(dataset))
        part = Part(dataset, schema.name)
        with self._instances.lend(dataset) as cursor, self._locks.hold(part), told():
            infile.replace_rows(cursor, place, schema, given, day=day)

    @override
    def explain(self, scope: Scope, sql: str) -> Explained:
        with self._asked(scope, sql) as (cursor, prepared, _):
            return explained(cursor, parse(sql), prepared)

    @override
    def explain_load(self, request: StageRequest) -> Explained:
        tree = fill.fill(request.sql, request.names, request.parameters)
        resolved = names.resolve(tree, request.scope)
        days = [request.key.day] if requested.is_billing_day(request) else []
        with self._instances.lend(request.dataset, with_sources=True) as cursor, told(resolved):
            prepared = prepare(cursor, request.dataset, resolved, shapes=self._shapes, days=days)
            return explained(cursor, tree, prepared)

    @override
    def upsert(self, dataset: str, schema: TableSchema, key: tuple[str, ...], rows: Rows) -> None:
        self._put(dataset, [Upsert(schema=schema, key=key, rows=rows)])

    @override
    def upsert_all(self, dataset: str, upserts: Sequence[Upsert], *, seen_at: datetime) -> None:
        self._put(dataset, upserts)

    @override
    def source_kind(self, source: GrantedSource) -> GrantedSource:
        return kind_by_files(source, self._shapes)

    @override
    def files_of(self, source: GrantedSource) -> tuple[FileState, ...]:
        return files_of(source)

    @override
    def survey(
        self,
        dataset: str,
        source: GrantedSource,
        files: Sequence[FileState],
        known: Mapping[str, Unit],
        cancel: CancelToken,
    ) -> tuple[Unit, ...]:
        with (
            self._instances.lend(dataset, with_sources=True, check=cancel.check) as cursor,
            interruptible(cursor, cancel),
            told(),
        ):
            return survey(cursor, source, files, known, self._shapes, cancel)

    @override
    def rows_of_day(
        self, dataset: str, source: GrantedSource, path: str, day: date, cancel: CancelToken
    ) -> str:
        with (
            self._instances.lend(dataset, with_sources=True, check=cancel.check) as cursor,
            interruptible(cursor, cancel),
            told(),
        ):
            sight = look_at(cursor, source, self._shapes, path, day)
            return rows_of_day(cursor, sight, cancel)

    @override
    def storage_bytes(self, dataset: str) -> int:
        return self._instances.size(dataset)

    @override
    def close(self) -> None:
        self._instances.close()

    def _put(self, dataset: str, upserts: Sequence[Upsert]) -> None:
        """All in one transaction. Raises NotFound where a table is not there."""
        puts = [(_place(dataset, each.schema.name), each) for each in upserts if each.rows]
        held = [Part(dataset, place.name) for place, _ in puts]
        with self._instances.lend(dataset) as cursor, told():
            try:
                with self._locks.hold_all(held):
                    tables.upsert(cursor, puts)
            except duckdb.CatalogException as gone:
                raise NotFound(
                    f"{dataset} lacks a table: {first_line(gone)}",
                    code="table_not_found",
                    hint="cdp db migrate makes it again",
                ) from gone

    def _ensure(self, cursor: duckdb.DuckDBPyConnection, dataset: str, schema: TableSchema) -> bool:
        place = _place(dataset, schema.name)
        if tables.exists(cursor, place):
            return False
        base = derived.base_of(schema)
        if base != schema.name:
            self._ensure(cursor, dataset, load_schema(base))
        with self._locks.hold(Part(dataset, base)):
            is_new = not tables.exists(cursor, place)
            if is_new:
                tables.create(cursor, place, schema)
            return is_new

    @contextmanager
    def _asked(
        self, scope: Scope, sql: str, *, most: int | None = None
    ) -> Iterator[tuple[duckdb.DuckDBPyConnection, Prepared, Path]]:
        """A cursor that can only read, where the statement's tables are; it; a folder to write to.

        `most` limits the rows of a statement without a LIMIT. Errors are told of what was sent.
        """
        with pointing(sql):
            resolved = names.read(sql, scope, most=most)
            dataset = names.dataset_of(resolved, scope)
            if names.reads_files_alone(resolved) and not self._instances.exists(dataset):
                place = alone(folders_of(resolved))
            else:
                place = self._lent(dataset, resolved)
            with (
                place as (cursor, scratch),
                asked(
                    cursor,
                    resolved,
                    scope,
                    lambda: prepare(cursor, dataset, resolved, shapes=self._shapes),
                ) as prepared,
            ):
                yield cursor, prepared, scratch

    @contextmanager
    def _lent(
        self, dataset: str, resolved: names.Resolved
    ) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
        with_sources = any(ref.source is not None for ref in resolved.refs)
        with self._instances.lend(dataset, with_sources=with_sources) as cursor:
            yield cursor, self._instances.scratch(dataset)


def _place(dataset: str, table: str) -> exp.Table:
    """Copies of central tables lie in a schema of their own, in every file."""
    schema = tables.CENTRAL if table in central_schemas() else tables.OWN
    return tables.table(dataset, table, schema=schema)


def _own(staged: Staged) -> StagedLoad:
    if not isinstance(staged, StagedLoad):
        raise TypeError(f"{type(staged).__name__} was not staged by this warehouse")
    return staged
