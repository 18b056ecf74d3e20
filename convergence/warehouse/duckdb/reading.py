"""A statement that passed the gate, and the sources it reads, as what DuckDB runs."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import lru_cache, partial

import duckdb
from sqlglot import exp

from convergence.errors import Invalid, NotFound
from convergence.model.source import GrantedSource, check_kind, kind_of
from convergence.model.table import Column
from convergence.warehouse.base import Explained, QueryLimits, Read, Scope
from convergence.warehouse.duckdb import export, tables
from convergence.warehouse.duckdb.export import Sight
from convergence.warehouse.duckdb.files import Shapes, match_files
from convergence.warehouse.duckdb.types import bigquery_columns
from convergence.warehouse.schemas import View, central_views, gcp_export, tenant_schemas, views
from convergence.warehouse.sql.dialect import to_duckdb
from convergence.warehouse.sql.names import Resolved, TableKind, TableRef, resolve
from convergence.warehouse.sql.notes import notes
from convergence.warehouse.sql.statement import parse

FETCHED_AT_ONCE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """DuckDB's statement, and the sources it reads, as they were looked at.

    `notes` say what of it is approximate.
    """

    sql: str
    notes: tuple[str, ...]
    sights: tuple[Sight, ...]


def prepare(
    cursor: duckdb.DuckDBPyConnection,
    dataset: str,
    resolved: Resolved,
    *,
    shapes: Shapes,
    days: Sequence[date] = (),
    bounded: bool = True,
) -> Prepared:
    """Translate for the instance of `dataset`; of sources only `days` are read, if there are any.

    A query of our own writing need not be `bounded`.

    Raises Invalid, and StepFailed that names a file which cannot be read.
    """
    sources = {ref.source for ref in resolved.refs if ref.source is not None}
    sights = {source: look(cursor, source, shapes, days) for source in sources}

    live = {ref: _live(cursor, dataset, ref) for ref in resolved.refs}
    view_of = {ref: _view(ref, columns) for ref, columns in live.items()}

    def place(ref: TableRef) -> exp.Expr:
        if ref.source is not None:
            return export.relation(sights[ref.source]).subquery(copy=False)
        view = view_of[ref]
        return _answer(cursor, dataset, view, resolved.project) if view else _own(dataset, ref)

    known = {ref: view.columns if view else live[ref] for ref, view in view_of.items()}
    if bounded and resolved.text and not sources and not any(view_of.values()):
        sql, found = _translated(_Statement(resolved.text, dataset, tuple(known.items()), resolved))
    else:
        sql = to_duckdb(resolved, place=place, columns=known.__getitem__, bounded=bounded)
        found = notes(resolved, columns=known.__getitem__)
    sights_in_order = tuple(sights[source] for source in _ordered(sources))
    return Prepared(sql=sql, notes=found, sights=sights_in_order)


@dataclass(frozen=True, slots=True)
class _Statement:
    """What a translation hangs on where no file is read; `resolved` is what `text` says."""

    text: str
    dataset: str
    known: tuple[tuple[TableRef, tuple[Column, ...]], ...]
    resolved: Resolved = field(compare=False)


@lru_cache(maxsize=512)
def _translated(statement: _Statement) -> tuple[str, tuple[str, ...]]:
    known = dict(statement.known).__getitem__
    place = partial(_own, statement.dataset)
    sql = to_duckdb(statement.resolved, place=place, columns=known)
    return sql, notes(statement.resolved, columns=known)


def explained(cursor: duckdb.DuckDBPyConnection, tree: exp.Query, prepared: Prepared) -> Explained:
    """Let DuckDB check the statement's names and types; no row is read."""
    nothing = exp.Subquery(this=exp.Var(this=prepared.sql), alias=exp.to_identifier("rows_"))
    cursor.execute(exp.select("*").from_(nothing).limit(0).sql("duckdb"))
    return Explained(
        statement=tree.sql("bigquery", pretty=True),
        sql=prepared.sql,
        notes=prepared.notes,
        columns=tuple(bigquery_columns(cursor)),
        reads=tuple(_read(sight) for sight in prepared.sights),
    )


def _read(sight: Sight) -> Read:
    states = [shape.state for shape in sight.to_read]
    size = sum(state.size for state in states)
    matched = len(sight.shapes)
    return Read(source=sight.source.table, files=len(states), bytes=size, matched=matched)


def _own(dataset: str, ref: TableRef) -> exp.Table:
    schema = tables.CENTRAL if ref.kind is TableKind.CENTRAL else tables.OWN
    return tables.table(dataset, ref.table, schema=schema)


def _live(cursor: duckdb.DuckDBPyConnection, dataset: str, ref: TableRef) -> tuple[Column, ...]:
    """The columns that there are; empty for a table that is not there."""
    if ref.source is not None:
        return gcp_export().columns
    try:
        return tables.columns(cursor, _own(dataset, ref)) if ref.table else ()
    except NotFound:
        return ()


def _view(ref: TableRef, live: tuple[Column, ...]) -> View | None:
    """A derived table that is not there whole, as in a dataset of an earlier version, is a view."""
    if ref.source is not None or ref.view:
        return None
    if ref.kind is TableKind.CENTRAL:
        return central_views().get(ref.table)
    schema = tenant_schemas().get(ref.table)
    if schema is None or not schema.query:
        return views().get(ref.table)
    if {column.name for column in live}.issuperset(schema.column_names):
        return None
    return View(columns=schema.columns, query=schema.query)


def _answer(
    cursor: duckdb.DuckDBPyConnection, dataset: str, view: View, project: str
) -> exp.Subquery:
    """The view's own query over the dataset, in place of a table."""
    own = Scope(project=project, tenant_id=dataset, datasets=frozenset({dataset}))
    resolved = resolve(parse(view.query), own)
    prepared = prepare(cursor, dataset, resolved, shapes=Shapes(), bounded=False)
    return exp.Subquery(this=exp.Var(this=prepared.sql))


def fetched(cursor: duckdb.DuckDBPyConnection, limits: QueryLimits) -> Iterator[tuple[object, ...]]:
    """The rows, one more than the limit at most. Raises Invalid when they hold too much text."""
    characters = 0
    left = limits.rows + 1
    while left > 0 and (part := cursor.fetchmany(min(left, FETCHED_AT_ONCE))):
        characters += sum(len(str(value)) for row in part for value in row)
        if characters > limits.characters:
            raise Invalid(
                f"the answer holds more than {limits.characters:,} characters",
                code="result_too_large",
                hint="ask for fewer rows or columns",
            )
        left -= len(part)
        yield from part


def look(
    cursor: duckdb.DuckDBPyConnection, source: GrantedSource, shapes: Shapes, days: Sequence[date]
) -> Sight:
    """The source's files at this moment. Raises StepFailed, Invalid."""
    states = match_files(source.files) if source.files else ()
    sight = Sight(source=source, shapes=shapes.of(cursor, states), days=tuple(days))
    check_kind(source, kind_of(source, export.names_of(sight.shapes)))
    export.check_readable(sight)
    return sight


def _ordered(sources: Iterable[GrantedSource]) -> list[GrantedSource]:
    return sorted(sources, key=lambda source: source.table)


def plain_value(value: object) -> object:
    """DuckDB gives times with pytz's UTC: Python's own is what everyone compares with."""
    return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo else value
