"""Which rows a load writes and which it replaces, as trees of DuckDB's SQL."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

import duckdb
from sqlglot import exp

from convergence.errors import StepFailed
from convergence.model.table import Column, Mode, TableSchema
from convergence.warehouse.duckdb import tables
from convergence.warehouse.files.shapes import day_bounds
from convergence.warehouse.files.types import SqlType, bigquery_type
from convergence.warehouse.requested import (
    ROWS,
    check_known,
    equals,
    is_billing,
    is_billing_day,
    is_stamped,
    literal,
    partition,
    stamp_columns,
)
from convergence.warehouse.sql import exact, fill
from convergence.warehouse.staged import StageRequest, WriteMode

Given = Mapping[str, SqlType]
"""The columns of a query, with their types."""

_ASIDE = "rows_to_merge"
_USAGE = "usage_start_time"


def target(request: StageRequest) -> exp.Table:
    return tables.table(request.dataset, request.table)


def rows_of(sql: str) -> exp.Select:
    """All rows of a statement that is already DuckDB's."""
    inner = exp.Subquery(this=exp.Var(this=sql), alias=exp.to_identifier(ROWS))
    return exp.select("*").from_(inner)


def values(request: StageRequest, given: Given, columns: tuple[Column, ...]) -> dict[str, exp.Expr]:
    """What to insert by column: the query's, then the stamps. Floats become money exactly.

    Raises StepFailed for columns that the table lacks.
    """
    check_known(request, given, columns)
    live = {column.name: column for column in columns}
    stamps = {name: value for name, value in request.stamps.items() if name in live}
    found = {
        name: _value(name, type_, live[name])
        for name, type_ in given.items()
        if not is_stamped(request, name)
    }
    return found | {
        name: fill.literal(value, exp.column(name))
        for name, value in stamps.items()
        if name not in found
    }


def inferred(request: StageRequest, given: Given) -> TableSchema:
    """The shape of a table that nobody has said: the query's columns and the stamps."""
    columns = [_inferred(name, type_) for name, type_ in given.items()]
    columns += stamp_columns(request, given)
    return TableSchema(name=request.table, columns=tuple(columns))


def replaced(request: StageRequest, columns: tuple[Column, ...]) -> exp.Expr:
    """The rows that the load takes the place of."""
    if request.mode is WriteMode.MERGE:
        aside = exp.select("1").from_(exp.to_identifier(_ASIDE))
        same = (
            exp.NullSafeEQ(
                this=exp.column(name, table=_ASIDE, quoted=True),
                expression=exp.column(name, table=request.table, quoted=True),
            )
            for name in request.merge_keys
        )
        return exp.Exists(this=aside.where(*same))
    return written(request, columns)


def written(request: StageRequest, columns: tuple[Column, ...]) -> exp.Expr:
    """The rows that the load has written, once it has."""
    if request.mode in {WriteMode.APPEND, WriteMode.MERGE}:
        return equals("x_run_id", request.stamps["x_run_id"])
    conditions: list[exp.Expr] = []
    if any(column.name == "x_source" for column in columns):
        conditions.append(equals("x_source", request.key.source))
    if request.mode is WriteMode.REPLACE_PARTITION:
        conditions.append(_day(request, columns).eq(literal(request.key.day)))
    return exp.and_(exp.true(), *conditions)


def days_written(requests: Sequence[StageRequest]) -> exp.Expr:
    """The same of days of one bill, by columns that all have what is derived from it, too."""
    days = [literal(request.key.day) for request in requests]
    first = requests[0]
    of_days = exp.In(this=day_column(first), expressions=days)
    return exp.and_(equals("x_source", first.key.source), of_days)


def day_column(request: StageRequest) -> exp.Column:
    """What tells the days of a bill apart, in it and in all that is derived from it."""
    return exp.column(request.partition_by, quoted=True)


def differ_in_day_alone(requests: Sequence[StageRequest]) -> bool:
    """Whether they are whole days of one bill, by one text, with the same names and stamps but
    for the day itself, and for what is asked of it.
    """
    first = requests[0]
    if not is_billing_day(first) or first.limit is not None:
        return False
    return all(
        _but_for_day(each) == _but_for_day(first) and _are_named_alike(each, first)
        for each in requests[1:]
    )


def _but_for_day(request: StageRequest) -> StageRequest:
    return replace(
        request,
        key=replace(request.key, day=date.min),
        names={},
        stamps={**request.stamps, request.partition_by: None},
        surveyed=None,
        with_changes=False,
    )


def _are_named_alike(one: StageRequest, other: StageRequest) -> bool:
    """Whether each name says the same of both, or of each its own day."""
    if one.names.keys() != other.names.keys():
        return False
    return all(
        value == other.names[name] or (value, other.names[name]) == (one.key.day, other.key.day)
        for name, value in one.names.items()
    )


def day_of_row() -> exp.Expr:
    """The day on which a row's usage begins."""
    return exp.cast(exp.column(_USAGE, table=ROWS, quoted=True), "DATE", dialect="duckdb")


def strays(request: StageRequest, columns: tuple[Column, ...]) -> exp.Select:
    """Days, other than the load's, with the number of rows the load has written there."""
    mine = equals("x_run_id", request.stamps["x_run_id"])
    day = _day(request, columns)
    stray: exp.Expr = exp.and_(mine, exp.NullSafeNEQ(this=day, expression=literal(request.key.day)))
    if is_billing(request):
        day = exp.cast(exp.column(_USAGE, quoted=True), "DATE", dialect="duckdb")
        stray = exp.and_(written(request, columns), is_of_other_day(request))
    return (
        exp.select(exp.alias_(day, "day"), exp.Count(this=exp.Star()))
        .from_(target(request))
        .where(stray)
        .group_by("1")
        .order_by("1")
    )


def is_of_other_day(request: StageRequest) -> exp.Expr:
    """Whether the usage that a row of a bill tells of began on another day than the load's."""
    start, end = (literal(moment) for moment in day_bounds(request.key.day))
    usage = exp.column(_USAGE, quoted=True)
    return exp.or_(usage < start, usage >= end)


def set_aside(
    cursor: duckdb.DuckDBPyConnection,
    request: StageRequest,
    rows: exp.Select,
    names: tuple[str, ...],
) -> exp.Select:
    """Keep the rows to merge in a table of their own. Raises StepFailed when keys repeat."""
    aside = exp.table_(_ASIDE)
    create = exp.Create(
        this=aside,
        kind="TABLE",
        replace=True,
        properties=exp.Properties(expressions=[exp.TemporaryProperty()]),
        expression=_aliased(rows, names),
    )
    cursor.execute(create.sql("duckdb"))
    keys = [exp.column(name, quoted=True) for name in request.merge_keys]
    repeated = exp.select(*keys).from_(aside).group_by(*keys).having("COUNT(*) > 1").limit(3)
    found = cursor.execute(repeated.sql("duckdb")).fetchall()
    if found:
        raise StepFailed(
            f"{request.table}: the query gives several rows for one key: {found}",
            code="merge_key_repeated",
            hint="merge_keys must tell the rows apart: " + ", ".join(request.merge_keys),
        )
    return exp.select(*(exp.column(name, quoted=True) for name in names)).from_(aside)


def _aliased(rows: exp.Select, names: tuple[str, ...]) -> exp.Select:
    values_ = [
        exp.alias_(value, name, quoted=True)
        for value, name in zip(rows.expressions, names, strict=True)
    ]
    return rows.select(*values_, append=False)


def _value(name: str, type_: SqlType, column: Column) -> exp.Expr:
    value = exp.column(name, table=ROWS, quoted=True)
    if column.type.startswith("NUMERIC") and type_.id in {"double", "float"}:
        return exact.from_double(exp.cast(value, "DOUBLE", dialect="duckdb"))
    return value


def _inferred(name: str, type_: SqlType) -> Column:
    if type_.id == "list":
        element = _inferred(name, type_.children["child"])
        return Column(name=name, type=element.type, mode=Mode.REPEATED, fields=element.fields)
    if type_.id == "struct":
        fields = tuple(_inferred(member, child) for member, child in type_.children.items())
        return Column(name=name, type="STRUCT", fields=fields)
    return Column(name=name, type=bigquery_type(type_))


def _day(request: StageRequest, columns: tuple[Column, ...]) -> exp.Expr:
    column = partition(request, columns)
    value = exp.column(request.partition_by, quoted=True)
    return value if column.type == "DATE" else exp.cast(value, "DATE", dialect="duckdb")
