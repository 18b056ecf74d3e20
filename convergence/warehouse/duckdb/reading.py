"""A statement that passed the gate, and the sources it reads, as what DuckDB runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache, partial

import duckdb
from sqlglot import exp

from convergence.errors import NotFound
from convergence.model.cancel import CancelToken
from convergence.model.table import Column
from convergence.warehouse.duckdb import tables
from convergence.warehouse.files.reading import Prepared, rows_of, sights_of
from convergence.warehouse.files.shapes import Shapes
from convergence.warehouse.question import Scope
from convergence.warehouse.schemas import View, central_views, gcp_export, tenant_schemas, views
from convergence.warehouse.sql.dialect import to_duckdb
from convergence.warehouse.sql.names import Resolved, TableKind, TableRef, resolve
from convergence.warehouse.sql.notes import notes
from convergence.warehouse.sql.statement import parse


def prepare(  # noqa: PLR0913 - what, where and how far, all by name
    cursor: duckdb.DuckDBPyConnection,
    dataset: str,
    resolved: Resolved,
    *,
    shapes: Shapes,
    days: Sequence[date] = (),
    bounded: bool = True,
    cancel: CancelToken | None = None,
) -> Prepared:
    """Translate for the instance of `dataset`; of sources only `days` are read, if there are any.

    A query of our own writing need not be `bounded`.

    Raises Invalid, StepFailed that names a file which cannot be read, and what the token says.
    """
    sights = sights_of(cursor, resolved, shapes, days, cancel)
    live = {ref: _live(cursor, dataset, ref) for ref in resolved.refs}
    view_of = {ref: _view(ref, columns) for ref, columns in live.items()}

    def place(ref: TableRef) -> exp.Expr:
        if ref.source is not None:
            return rows_of(sights[ref.source])
        view = view_of[ref]
        return _answer(cursor, dataset, view, resolved.project) if view else _own(dataset, ref)

    known = {ref: view.columns if view else live[ref] for ref, view in view_of.items()}
    if bounded and resolved.text and not sights and not any(view_of.values()):
        sql, found = _translated(_Statement(resolved.text, dataset, tuple(known.items()), resolved))
    else:
        sql = to_duckdb(resolved, place=place, columns=known.__getitem__, bounded=bounded)
        found = notes(resolved, columns=known.__getitem__)
    return Prepared(sql=sql, notes=found, sights=tuple(sights.values()))


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
