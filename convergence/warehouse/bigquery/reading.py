"""A statement that passed the gate, and the sources it reads, as what BigQuery runs."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from google.cloud.bigquery import SchemaField
from google.cloud.bigquery.job import QueryJob
from sqlglot import exp

from convergence.errors import CdpError, Invalid, NotFound, Unavailable
from convergence.model.source import GrantedSource
from convergence.warehouse.bigquery.faults import CALL_SECONDS, RETRY, told
from convergence.warehouse.bigquery.places import CENTRAL, HIDDEN, place, table_name
from convergence.warehouse.bigquery.sources import Sight, catalogue, relation
from convergence.warehouse.bigquery.types import column_of, type_text
from convergence.warehouse.question import QueryLimits, Scope
from convergence.warehouse.schemas import View, all_schemas, central_views, views
from convergence.warehouse.sql.names import Resolved, TableKind, TableRef, put_tables, resolve
from convergence.warehouse.sql.statement import parse, refused

Look = Callable[[GrantedSource], Sight]
PAGE = 1_000
_UNKNOWN = re.compile(r"Unrecognized name: (\S+?)(?:;| at |$)")
_MEANT = re.compile(r"Did you mean (\S+?)\?")
_NO_TABLE = re.compile(r"Not found: Table \S+\.(\w+)")
_AT = re.compile(r"^\d+:\d+: ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """BigQuery's statement, and the sources it reads, as they were looked at."""

    tree: exp.Query
    sights: tuple[Sight, ...]

    @property
    def sql(self) -> str:
        return self.tree.sql("bigquery", comments=False)


def prepare(
    dataset: str,
    resolved: Resolved,
    look: Look,
    *,
    instead: Mapping[str, exp.Expr] | None = None,
) -> Prepared:
    """What stands for each table is put in its place; `instead` names tables of the dataset for
    which something else stands. Raises Invalid, StepFailed.
    """
    sources = sorted({r.source for r in resolved.refs if r.source}, key=lambda s: s.table)
    sights = {source: look(source) for source in sources}

    def stand_in(ref: TableRef) -> exp.Expr:
        if ref.view:
            return _catalogue(resolved.project, dataset, ref)
        if ref.source is not None:
            return relation(sights[ref.source]).subquery(copy=False)
        if (view := _view(ref)) is not None:
            return _answer(dataset, view, resolved.project)
        if instead and ref.table in instead:
            return instead[ref.table]
        return place(resolved.project, dataset, table_name(dataset, ref.table))

    tree = resolved.tree.copy()
    put_tables(tree, resolved, {ref: stand_in(ref) for ref in resolved.refs})
    return Prepared(tree=tree, sights=tuple(sights.values()))


def _view(ref: TableRef) -> View | None:
    return (central_views() if ref.kind is TableKind.CENTRAL else views()).get(ref.table)


def _answer(dataset: str, view: View, project: str) -> exp.Subquery:
    """The view's own query over the dataset, in place of a table."""
    own = Scope(project=project, tenant_id=dataset, datasets=frozenset({dataset}))
    prepared = prepare(dataset, resolve(parse(view.query), own), _no_source)
    return prepared.tree.subquery(copy=False)


def _no_source(source: GrantedSource) -> Sight:
    raise refused(f"{source.table} is no table of a view")


def _catalogue(project: str, dataset: str, ref: TableRef) -> exp.Subquery:
    """INFORMATION_SCHEMA.COLUMNS or TABLES, without what lies behind the tables."""
    view = catalogue(project, dataset, ref.view)
    name = exp.column("table_name")
    is_copied = ref.kind is TableKind.CENTRAL and ref.dataset != dataset
    shown: exp.Expr = exp.Star()
    kept: exp.Expr = exp.not_(exp.RegexpLike(this=name, expression=exp.Literal.string(HIDDEN)))
    if is_copied:
        bare = exp.func("REPLACE", name.copy(), exp.Literal.string(CENTRAL), exp.Literal.string(""))
        named = [exp.alias_(bare, "table_name")]
        named.append(exp.alias_(exp.Literal.string(ref.dataset), "table_schema"))
        shown = exp.Star(replace=named)
        kept = exp.func("STARTS_WITH", name.copy(), exp.Literal.string(CENTRAL))
    return exp.select(shown).from_(view).where(kept).subquery(copy=False)


def answer_of(
    job: QueryJob, limits: QueryLimits
) -> tuple[tuple[tuple[str, str], ...], list[tuple[Any, ...]]]:
    """The columns and the rows, one more than the limit at most. Raises Invalid when they hold
    too much text.
    """
    characters = 0
    rows: list[tuple[Any, ...]] = []
    with told():
        found = job.result(
            max_results=limits.rows + 1, page_size=PAGE, retry=RETRY, timeout=CALL_SECONDS
        )
        for row in found:
            values = tuple(map(_plain, row.values(), found.schema))
            characters += sum(len(str(value)) for value in values)
            if characters > limits.characters:
                raise Invalid(
                    f"the answer holds more than {limits.characters:,} characters",
                    code="result_too_large",
                    hint="ask for fewer rows or columns",
                )
            rows.append(values)
        return columns_of_result(tuple(found.schema)), rows


def columns_of_result(fields: tuple[SchemaField, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((field.name, type_text(column_of(field))) for field in fields)


def _plain(value: Any, field: SchemaField) -> Any:  # noqa: ANN401 - a value of whatever type
    """JSON is a text, as it is everywhere here."""
    is_json = field.field_type == "JSON" and field.mode != "REPEATED"
    return json.dumps(value) if is_json and value is not None else value


def retold(error: Invalid | NotFound, resolved: Resolved) -> CdpError:
    """An error of BigQuery's about what it was sent, told of what we were sent."""
    text = _AT.sub("", error.detail)
    if isinstance(error, NotFound) and _is_ours(error):
        return Unavailable(
            f"the tenant's tables are gone: {text}",
            code="tables_gone",
            hint="undelete them in BigQuery within seven days, or make them anew, empty, with "
            "cdp db migrate: the next cost_sync then loads what the source still has",
        )
    if found := _UNKNOWN.search(text):
        meant = _MEANT.search(text)
        name = found[1].rpartition(".")[2]
        return refused(
            f"there is no column {name}",
            at=_named(resolved, name) or "",
            code="sql_failed",
            hint=f"did you mean {meant[1]}?" if meant else "",
        )
    if isinstance(error, NotFound):
        return refused(
            text,
            code="sql_failed",
            hint="`SELECT table_name FROM dataset.INFORMATION_SCHEMA.TABLES` lists the tables",
        )
    return Invalid(text, code=error.code, hint=error.hint)


def _is_ours(error: NotFound) -> bool:
    """Whether what is not there is a dataset, or a table that each dataset has."""
    found = _NO_TABLE.search(error.detail)
    return error.code == "dataset_not_found" or (found is not None and found[1] in all_schemas())


def _named(resolved: Resolved, name: str) -> exp.Expr | None:
    names = resolved.tree.find_all(exp.Identifier)
    return next((node for node in names if node.name.lower() == name.lower()), None)
