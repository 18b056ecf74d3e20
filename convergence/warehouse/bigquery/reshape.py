"""The statements that bring a table in BigQuery to a shape: widened in place, or written anew."""

from collections.abc import Iterator
from dataclasses import replace

from sqlglot import exp, parse_one

from convergence.model.drift import is_in_place, same_default
from convergence.model.table import Column, Mode, TableSchema
from convergence.warehouse.bigquery.types import data_type


def created(place: exp.Table, schema: TableSchema) -> str:
    """The statement that makes the table, for a plan; it is made by a call."""
    return _create(place, schema).sql("bigquery")


def statements(place: exp.Table, live: TableSchema, aimed: TableSchema) -> list[str]:
    """From what is there, `live`, to `aimed`; each leaves the table whole.

    BigQuery leaves an added column NULL in the rows that are there: its default is filled in.
    """
    if is_in_place(_in_order(aimed, live), live) and not _tightens(live, aimed):
        found = _altered(place, live, aimed)
    else:
        found = _written_anew(place, live, aimed)
    return [statement.sql("bigquery") for statement in found]


def _in_order(aimed: TableSchema, live: TableSchema) -> TableSchema:
    """Order means nothing here: columns that are there come first."""
    there = list(live.column_names)
    known = sorted(
        (column for column in aimed.columns if column.name in there),
        key=lambda column: there.index(column.name),
    )
    new = [column for column in aimed.columns if column.name not in there]
    return replace(aimed, columns=(*known, *new))


def _tightens(live: TableSchema, aimed: TableSchema) -> bool:
    """Whether a column becomes REQUIRED, or is added so: BigQuery alters no table to that."""
    modes = {column.name: column.mode for column in live.columns}
    return any(
        column.mode is Mode.REQUIRED and modes.get(column.name) is not Mode.REQUIRED
        for column in aimed.columns
    )


def _altered(place: exp.Table, live: TableSchema, aimed: TableSchema) -> Iterator[exp.Expr]:
    there = {column.name: column for column in live.columns}
    for column in aimed.columns:
        found = there.get(column.name)
        if found is None:
            yield from _added(place, column)
        else:
            yield from _loosened(place, found, column)


def _added(place: exp.Table, column: Column) -> Iterator[exp.Expr]:
    yield _alter(place, _definition(replace(column, default=None)))
    if column.default is not None:
        yield from _given_default(place, column, column.default)


def _given_default(place: exp.Table, column: Column, default: str) -> Iterator[exp.Expr]:
    """The default comes last: without it, what was cut off before is seen, and done again."""
    here = exp.column(_name(column))
    yield exp.Update(
        this=place.copy(),
        expressions=[exp.EQ(this=here, expression=_sql(default))],
        where=exp.Where(this=exp.Is(this=here.copy(), expression=exp.null())),
    )
    yield _alter(place, exp.AlterColumn(this=_name(column), default=_sql(default)))


def _loosened(place: exp.Table, found: Column, column: Column) -> Iterator[exp.Expr]:
    if found.default is None and column.default is not None:
        yield from _given_default(place, column, column.default)
    elif not same_default(found.default, column.default):
        default = exp.null() if column.default is None else _sql(column.default)
        yield _alter(place, exp.AlterColumn(this=_name(column), default=default))
    if found.mode is not column.mode:
        yield _alter(place, exp.AlterColumn(this=_name(column), drop=True, allow_null=True))


def _written_anew(place: exp.Table, live: TableSchema, aimed: TableSchema) -> Iterator[exp.Expr]:
    """One statement that replaces the table, its rows in the new shape."""
    there = {column.name: column for column in live.columns}
    values = [_value(column, there.get(column.name)) for column in aimed.columns]
    rows = exp.select(*values).from_(place.copy())
    yield exp.Create(**{**_create(place, aimed).args, "replace": True, "expression": rows})


def _value(column: Column, found: Column | None) -> exp.Expr:
    """What a row that is there has in the column."""
    default = exp.null() if column.default is None else _sql(column.default)
    value: exp.Expr = default
    if found is not None:
        value = exp.column(_name(column))
        if column.mode is Mode.REQUIRED and found.mode is not Mode.REQUIRED and column.default:
            value = exp.func("IFNULL", value, default)
    if found is None or found.type != column.type:
        value = exp.Cast(this=value, to=data_type(column))
    return exp.alias_(value, column.name, quoted=True)


def _create(place: exp.Table, schema: TableSchema) -> exp.Create:
    body = exp.Schema(this=place.copy(), expressions=[_definition(c) for c in schema.columns])
    return exp.Create(
        this=body, kind="TABLE", properties=exp.Properties(expressions=list(_options(schema)))
    )


def _options(schema: TableSchema) -> Iterator[exp.Expr]:
    if schema.partition_by is not None:
        day: exp.Expr = exp.column(schema.partition_by, quoted=True)
        type_ = next(c.type for c in schema.columns if c.name == schema.partition_by)
        if type_ != "DATE":
            day = exp.TimestampTrunc(this=day, unit=exp.var("DAY"))
        yield exp.PartitionedByProperty(this=day)
    if schema.cluster_by:
        names = [exp.column(name, quoted=True) for name in schema.cluster_by]
        yield exp.ClusterProperty(expressions=names)
    if schema.expiration_days is not None:
        days = exp.Literal.number(schema.expiration_days)
        yield exp.Property(this=exp.var("partition_expiration_days"), value=days)
    if schema.description:
        yield exp.Property(
            this=exp.var("description"), value=exp.Literal.string(schema.description)
        )


def _definition(column: Column) -> exp.ColumnDef:
    constraints: list[exp.Expr] = []
    if column.mode is Mode.REQUIRED:
        constraints.append(exp.NotNullColumnConstraint())
    if column.default is not None:
        constraints.append(exp.DefaultColumnConstraint(this=_sql(column.default)))
    return exp.ColumnDef(
        this=_name(column),
        kind=data_type(column),
        constraints=[exp.ColumnConstraint(kind=constraint) for constraint in constraints],
    )


def _alter(place: exp.Table, action: exp.Expr) -> exp.Alter:
    return exp.Alter(this=place.copy(), kind="TABLE", actions=[action])


def _name(column: Column) -> exp.Identifier:
    return exp.to_identifier(column.name, quoted=True)


def _sql(said: str) -> exp.Expr:
    return parse_one(said, dialect="bigquery")
