"""Rows of tables that a load cannot take, by keys that find them: asked once it has failed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlglot import exp, parse_one

from convergence.errors import CdpError
from convergence.model.table import Column, Mode
from convergence.model.unit import broken_source
from convergence.warehouse.bad_rows import SHOWN, BadRows, in_words
from convergence.warehouse.bigquery.sources import EXPORTED, USAGE, Sight, relation
from convergence.warehouse.schemas import gcp_export
from convergence.warehouse.sql.faults import CODE

_KEYS = {
    "usage_start_time": "usage",
    "x_source_export_time": "exported",
    "service_id": "service",
    "project_id": "project",
}
"""Columns of a bill that find a row of it in the export, by what they are called here."""


Ask = Callable[[exp.Query], Sequence[Sequence[Any]]]
"""Answers a question, row by row."""


def rows_without(ask: Ask, table: exp.Table, names: Iterable[str], columns: Iterable[str]) -> str:
    """The rows of a bill with columns of these `names` in which one of `columns` is NULL."""
    there = frozenset(names)
    keys = {said: exp.column(name, quoted=True) for name, said in _KEYS.items() if name in there}
    found: list[BadRows] = []
    for name in columns:
        is_null = exp.Is(this=exp.column(name, quoted=True), expression=exp.null())
        found += _found(f"{name} is NULL", keys, ask(_rows_where(is_null, keys).from_(table)))
    return in_words(found)


def rows_without_time(ask: Ask, sight: Sight) -> str:
    """The rows of an export that are in no day."""
    is_null = exp.Is(this=exp.column(USAGE), expression=exp.null())
    return rows_of(ask, sight, f"{USAGE} is NULL", is_null)


def check_amounts(ask: Ask, sight: Sight, error: CdpError) -> None:
    """Where a statement failed on floats that are no amounts (NaN, infinite, too large), raise
    StepFailed that names their rows. One question, and one for each such column.
    """
    if error.code != CODE:
        return
    amounts = [column.name for column in gcp_export().columns if column.type == "NUMERIC"]
    tests = {name: (_float(name), _is_beyond(exp.column(name))) for name in amounts}
    tests["credits.amount"] = (_CREDITS, exp.Exists(this=_EACH_CREDIT.where(_BEYOND_CREDIT)))
    is_any = exp.or_(*(is_beyond for _, is_beyond in tests.values()))
    if not rows_of(ask, sight, "any", is_any, *(column for column, _ in tests.values())):
        return
    found = (
        rows_of(ask, sight, f"{name} is no amount that NUMERIC holds", is_beyond, column)
        for name, (column, is_beyond) in tests.items()
    )
    raise broken_source(sight.source.table, "; ".join(filter(None, found))) from error


def _float(name: str) -> Column:
    return Column(name=name, type="FLOAT64")


def _is_beyond(value: exp.Expr) -> exp.Expr:
    numeric = exp.TryCast(this=value, to=exp.DataType.build("NUMERIC", dialect="bigquery"))
    is_none = exp.Is(this=numeric, expression=exp.null())
    return exp.and_(exp.not_(exp.Is(this=value.copy(), expression=exp.null())), is_none)


_CREDITS = Column(name="credits", type="STRUCT", mode=Mode.REPEATED, fields=(_float("amount"),))
_EACH_CREDIT = parse_one("SELECT 1 FROM UNNEST(credits) AS c", into=exp.Select, dialect="bigquery")
_BEYOND_CREDIT = _is_beyond(exp.column("amount", table="c"))


def rows_of(
    ask: Ask, sight: Sight, what: str, condition: exp.Expr | None = None, *also: Column
) -> str:
    """The rows that a sight of an export allows, or those of them with `condition`, which may be
    about a column of `also`.
    """
    members = {"service": {"id"}, "project": {"id"}}
    columns = [
        replace(c, fields=tuple(f for f in c.fields if f.name in members.get(c.name, ())))
        for c in gcp_export().columns
        if c.name in {USAGE, EXPORTED, *members}
    ]
    keys: dict[str, exp.Expr] = {"usage": exp.column(USAGE), "exported": exp.column(EXPORTED)}
    for name in members:
        keys[name] = exp.Dot(this=exp.column(name), expression=exp.to_identifier("id"))
    rows = relation(sight, [*columns, *also], with_unit=condition is not None)
    query = _rows_where(condition or exp.true(), keys).from_(rows.subquery("rows_of_source"))
    return in_words(_found(what, keys, ask(query)))


def _rows_where(condition: exp.Expr, keys: Mapping[str, exp.Expr]) -> exp.Select:
    """How many rows there are, and the keys of the first; of no table yet."""
    count = exp.Window(this=exp.Count(this=exp.Star()))
    named = [exp.alias_(key, name) for name, key in keys.items()]
    query = exp.select(exp.alias_(count, "x_rows"), *named).where(condition)
    return query.order_by(*keys).limit(SHOWN)


def _found(what: str, keys: Iterable[str], rows: Sequence[Sequence[Any]]) -> list[BadRows]:
    """Nothing where there is no such row."""
    names = list(keys)
    where = [_words(dict(zip(names, row[1:], strict=True))) for row in rows]
    return [BadRows(what=what, rows=rows[0][0], where=where)] if rows else []


def _words(keys: Mapping[str, Any]) -> str:
    """`usage 2025-10-01T05:00:00+00:00, service 6F81-5844-456A`."""
    return ", ".join(f"{name} {_text(value)}" for name, value in keys.items())


def _text(value: Any) -> str:  # noqa: ANN401 - of whatever type
    if value is None:
        return "NULL"
    return str(value.isoformat() if hasattr(value, "isoformat") else value)
