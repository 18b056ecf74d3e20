"""Which rows a load writes and which it replaces, as trees of BigQuery's SQL."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from sqlglot import exp, parse_one

from convergence.model.table import Column, Mode, TableSchema
from convergence.warehouse.bigquery.types import data_type, type_text
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
from convergence.warehouse.staged import StageRequest, WriteMode


def day_of(request: StageRequest) -> date | None:
    """The day of an export that is loaded, None for all of it."""
    return request.key.day if is_billing_day(request) else None


def rows(
    request: StageRequest, query: exp.Query, given: Sequence[Column], columns: Sequence[Column]
) -> exp.Select:
    """What to write: all columns of the table, from the query, the stamps, or their defaults.

    Raises StepFailed for columns that the table lacks.
    """
    check_known(request, (column.name for column in given), columns)
    live = {column.name: column for column in columns}
    found: dict[str, exp.Expr] = {
        column.name: _value(column, live[column.name])
        for column in given
        if not is_stamped(request, column.name)
    }
    for name, value in request.stamps.items():
        if name in live and name not in found:
            found[name] = literal(value)
    values = [
        exp.alias_(found.get(column.name) or _absent(column), column.name, quoted=True)
        for column in columns
    ]
    select = exp.select(*values).from_(query.subquery(ROWS, copy=False))
    return select.limit(request.limit) if request.limit is not None else select


def inferred(request: StageRequest, given: Sequence[Column]) -> TableSchema:
    """The shape of a table that nobody has said: the query's columns and the stamps."""
    columns = (*given, *stamp_columns(request, {column.name for column in given}))
    days = {column.name for column in columns if column.type in {"DATE", "TIMESTAMP"}}
    day = request.partition_by if request.partition_by in days else None
    return TableSchema(name=request.table, columns=columns, partition_by=day)


def replaced(request: StageRequest, columns: Sequence[Column], staged: exp.Table) -> exp.Expr:
    """The rows of the table that the load takes the place of."""
    if request.mode is WriteMode.MERGE:
        keys = exp.select(_key(request.merge_keys)).from_(staged.copy())
        return exp.In(this=_key(request.merge_keys), query=keys.subquery())
    if request.mode is WriteMode.APPEND:
        return equals("x_run_id", request.stamps["x_run_id"])
    conditions: list[exp.Expr] = []
    if any(column.name == "x_source" for column in columns):
        conditions.append(equals("x_source", request.key.source))
    if request.mode is WriteMode.REPLACE_PARTITION:
        conditions.append(of_day(request, columns))
    return exp.and_(exp.true(), *conditions)


def kept(request: StageRequest, columns: Sequence[Column], staged: exp.Table) -> exp.Expr:
    """The rows of the table that stay beside the load's."""
    own = replaced(request, columns, staged)
    return exp.not_(exp.func("COALESCE", own, exp.false()))


def of_day(request: StageRequest, columns: Sequence[Column]) -> exp.Expr:
    """The rows of the load's day: by bounds, so that one partition alone is read."""
    return day_is(partition(request, columns), request.key.day)


def day_is(column: Column, day: date) -> exp.Expr:
    value = _column(column.name)
    if column.type == "DATE":
        return value.eq(literal(day))
    start = datetime.combine(day, datetime.min.time(), UTC)
    return exp.and_(
        exp.GTE(this=value, expression=literal(start)),
        exp.LT(this=value.copy(), expression=literal(start + timedelta(days=1))),
    )


def strays(request: StageRequest, columns: Sequence[Column], staged: exp.Table) -> exp.Select:
    """Days, other than the load's, with the number of staged rows that fall on them."""
    day = exp.cast(_column(_day_column(request, columns).name), exp.DType.DATE)
    return (
        exp.select(exp.alias_(day, "day"), exp.Count(this=exp.Star()))
        .from_(staged.copy())
        .where(is_stray(request, columns))
        .group_by("day")
        .order_by("day")
    )


def is_stray(request: StageRequest, columns: Sequence[Column]) -> exp.Expr:
    """Whether a staged row falls on another day than the load's: it would not be replaced again."""
    if request.mode is not WriteMode.REPLACE_PARTITION:
        return exp.false()
    on_day = day_is(_day_column(request, columns), request.key.day)
    return exp.not_(exp.func("COALESCE", on_day, exp.false()))


def repeated_keys(request: StageRequest, staged: exp.Table) -> exp.Select:
    keys = [_column(name) for name in request.merge_keys]
    query = exp.select(*keys).from_(staged.copy())
    return query.group_by(*(key.copy() for key in keys)).having("COUNT(*) > 1").limit(3)


def _day_column(request: StageRequest, columns: Sequence[Column]) -> Column:
    if is_billing(request):
        return next(column for column in columns if column.name == "usage_start_time")
    return partition(request, columns)


def _key(names: Sequence[str]) -> exp.Expr:
    """The keys of a row as one text, in which NULL equals NULL."""
    struct = exp.Struct(expressions=[_column(name) for name in names])
    return exp.Anonymous(this="TO_JSON_STRING", expressions=[struct])


def _value(given: Column, column: Column) -> exp.Expr:
    value = exp.column(given.name, table=ROWS, quoted=True)
    if type_text(given) == type_text(column) or column.mode is Mode.REPEATED or column.fields:
        return value
    if column.type == "JSON":
        return exp.Anonymous(this="PARSE_JSON", expressions=[value])
    return exp.Cast(this=value, to=data_type(column))


def _absent(column: Column) -> exp.Expr:
    value = exp.null() if column.default is None else parse_one(column.default, dialect="bigquery")
    return exp.Cast(this=value, to=data_type(column))


def _column(name: str) -> exp.Column:
    return exp.column(name, quoted=True)
