"""The files of sources for a warehouse that has its tables elsewhere, read as DuckDB reads its own.

Each act has an instance to itself, which sees the folder of the source and nothing else.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import BinaryIO

import duckdb
from sqlglot import exp

from convergence.model.cancel import CancelToken
from convergence.model.load import FileState
from convergence.model.source import GrantedSource, kind_of
from convergence.model.table import Column, Mode
from convergence.model.unit import Unit
from convergence.warehouse.files import export
from convergence.warehouse.files.asking import answer, asked
from convergence.warehouse.files.export import Sight
from convergence.warehouse.files.faults import told
from convergence.warehouse.files.instance import alone
from convergence.warehouse.files.interrupt import interruptible
from convergence.warehouse.files.outfile import write_answer
from convergence.warehouse.files.reading import (
    Prepared,
    explained,
    files_of,
    look,
    look_at,
    prepare,
)
from convergence.warehouse.files.shapes import Shapes
from convergence.warehouse.files.sums import SourceSums, source_of
from convergence.warehouse.files.survey import survey
from convergence.warehouse.files.trouble import (
    check_unchanged,
    explain_failure,
    rows_of_day,
    rows_without,
)
from convergence.warehouse.folders import folder_of
from convergence.warehouse.question import Explained, FileForm, QueryLimits, Result, Scope
from convergence.warehouse.schemas import gcp_export
from convergence.warehouse.sql.names import Resolved
from convergence.warehouse.staged import StageRequest

_LOOKED_AT = 5
"""So many of a source's newest files tell its kind."""


def kind_by_files(source: GrantedSource, shapes: Shapes) -> GrantedSource:
    """The source with the kind that its newest files tell."""
    newest = sorted(files_of(source), key=lambda state: state.mtime_ns)
    with alone(_folders(source)) as (cursor, _):
        found = shapes.of(cursor, newest[-_LOOKED_AT:])
    return replace(source, kind=kind_of(source, export.names_of(found)))


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFiles:
    """The files of a source as they were looked at, open to be read."""

    cursor: duckdb.DuckDBPyConnection
    scratch: Path
    sight: Sight
    cancel: CancelToken

    def write_parquet(self) -> Path:
        """The rows of the days in a file: the columns of the export, money exact."""
        rows = export.relation(self.sight).subquery("rows_of_source", copy=False)
        query = exp.select(*map(_loadable, gcp_export().columns)).from_(rows, copy=False)
        path = self.scratch / "rows.parquet"
        target = exp.Literal.string(str(path)).sql("duckdb")
        form = "FORMAT parquet, COMPRESSION zstd"
        self.cursor.execute(f"COPY ({query.sql('duckdb')}) TO {target} ({form})")
        return path

    def sums(self, request: StageRequest) -> SourceSums:
        """What the source holds of the load's day, by another read. Raises StepFailed,
        StepInterrupted.
        """
        return source_of(self.cursor, (self.sight,), request, self.cancel)

    def rows_without(self, columns: Sequence[str]) -> str:
        """The rows in which a column is NULL, file by file; empty when there is none."""
        return rows_without(self.cursor, [self.sight], columns, self.cancel)

    def check_unchanged(self) -> None:
        """Raise StepInterrupted for a file that is another now."""
        check_unchanged((self.sight,))


class SourceFiles:
    """Reads the files of all sources."""

    def __init__(self, *, memory_limit: str, threads: int) -> None:
        self._memory_limit = memory_limit
        self._threads = threads
        self._shapes = Shapes()

    def kind(self, source: GrantedSource) -> GrantedSource:
        return kind_by_files(source, self._shapes)

    def survey(
        self,
        source: GrantedSource,
        files: Sequence[FileState],
        known: Mapping[str, Unit],
        cancel: CancelToken,
    ) -> tuple[Unit, ...]:
        with self._instance(_folders(source)) as (cursor, _), interruptible(cursor, cancel), told():
            return survey(cursor, source, files, known, self._shapes, cancel)

    def rows_of_day(self, source: GrantedSource, path: str, day: date, cancel: CancelToken) -> str:
        with self._instance(_folders(source)) as (cursor, _), interruptible(cursor, cancel), told():
            sight = look_at(cursor, source, self._shapes, path, day)
            return rows_of_day(cursor, sight, cancel)

    def query(
        self, resolved: Resolved, scope: Scope, limits: QueryLimits, cancel: CancelToken | None
    ) -> Result:
        """A question about files alone. Raises Invalid, Cancelled."""
        with self._asked(resolved, scope) as (cursor, prepared, _):
            return answer(cursor, prepared, limits, cancel)

    def export(
        self,
        resolved: Resolved,
        scope: Scope,
        form: FileForm,
        limits: QueryLimits,
        cancel: CancelToken | None,
    ) -> BinaryIO:
        with (
            self._asked(resolved, scope) as (cursor, prepared, scratch),
            interruptible(cursor, cancel, limits.seconds),
        ):
            return write_answer(cursor, prepared.sql, form, scratch, limits.file_bytes)

    def explain(self, resolved: Resolved, scope: Scope, statement: exp.Query) -> Explained:
        """`statement` is how the question was put."""
        with self._asked(resolved, scope) as (cursor, prepared, _):
            return explained(cursor, statement, prepared)

    @contextmanager
    def _asked(
        self, resolved: Resolved, scope: Scope
    ) -> Iterator[tuple[duckdb.DuckDBPyConnection, Prepared, Path]]:
        with (
            self._instance(folders_of(resolved)) as (cursor, scratch),
            asked(
                cursor, resolved, scope, lambda: prepare(cursor, resolved, self._shapes)
            ) as prepared,
        ):
            yield cursor, prepared, scratch

    @contextmanager
    def opened(
        self,
        source: GrantedSource,
        days: Sequence[date],
        *,
        cancel: CancelToken,
        where: str = "",
    ) -> Iterator[OpenFiles]:
        """Errors of DuckDB's are told of the files, and of `where` they should have gone."""
        with self._instance(_folders(source)) as (cursor, scratch):
            with interruptible(cursor, cancel):
                sight = look(cursor, source, self._shapes, days, cancel)
            try:
                with interruptible(cursor, cancel):
                    yield OpenFiles(cursor=cursor, scratch=scratch, sight=sight, cancel=cancel)
            except duckdb.Error as error:
                table = where or source.table
                raise explain_failure(cursor, error, table, (sight,), cancel) from error

    @contextmanager
    def _instance(
        self, folders: tuple[Path, ...]
    ) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
        with alone(folders, memory_limit=self._memory_limit, threads=self._threads) as instance:
            yield instance


def _folders(source: GrantedSource) -> tuple[Path, ...]:
    return (folder_of(source.files),) if source.files else ()


def folders_of(resolved: Resolved) -> tuple[Path, ...]:
    """Those of the sources that a statement names."""
    sources = [ref.source for ref in resolved.refs if ref.source is not None]
    return tuple(sorted({folder for source in sources for folder in _folders(source)}))


def _loadable(column: Column) -> exp.Expr:
    value = _without_nulls(column, exp.column(column.name, quoted=True))
    return exp.alias_(value, column.name, quoted=True)


def _without_nulls(column: Column, value: exp.Expr) -> exp.Expr:
    """The value with no NULL in its lists: elsewhere a list may have none."""
    if column.mode is Mode.REPEATED:
        element = exp.to_identifier("e")
        is_given = exp.not_(exp.Is(this=exp.column("e"), expression=exp.null()))
        kept = exp.Lambda(this=is_given, expressions=[element])
        return exp.Anonymous(this="LIST_FILTER", expressions=[value, kept])
    if not any(member.mode is Mode.REPEATED for member in column.fields):
        return value
    members = [
        exp.PropertyEQ(
            this=exp.to_identifier(member.name, quoted=True),
            expression=_without_nulls(member, _member(value, member.name)),
        )
        for member in column.fields
    ]
    is_null = exp.Is(this=value.copy(), expression=exp.null())
    return exp.Case().when(is_null, exp.null()).else_(exp.Struct(expressions=members))


def _member(value: exp.Expr, name: str) -> exp.Expr:
    return exp.Anonymous(
        this="STRUCT_EXTRACT", expressions=[value.copy(), exp.Literal.string(name)]
    )
