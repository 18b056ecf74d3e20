"""The statements that bring a table in a DuckDB file to a shape: made, widened, or written anew."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

from sqlglot import exp, parse_one

from convergence.model.drift import is_in_place, same_default
from convergence.model.table import Column, Mode, TableSchema
from convergence.warehouse.duckdb import derived
from convergence.warehouse.files.types import duck_type

_NEW = "x_new_{}"


def statements(place: exp.Table, live: TableSchema | None, aimed: TableSchema) -> list[str]:
    """From what is there, `live`, to `aimed`; they belong into one transaction.

    Rows that are there get the default of an added column. What is derived from them is dropped,
    to be made again: a table that is not there is worked out.
    """
    if aimed.query:
        found = _derived(place, aimed)
    elif live is None:
        found = _made(place, aimed)
    else:
        change = _altered if is_in_place(aimed, live) else _written_anew
        changes = list(change(place, live, aimed))
        found = chain(changes, _dropped(place)) if changes else iter(changes)
    return [statement.sql("duckdb") for statement in found]


def _made(place: exp.Table, aimed: TableSchema) -> Iterator[exp.Expr]:
    parent = exp.Table(db=place.args["db"], catalog=place.args["catalog"]).copy()
    yield exp.Create(this=parent, kind="SCHEMA", exists=True)
    yield _table(place, aimed, exists=True)


def _derived(place: exp.Table, aimed: TableSchema) -> Iterator[exp.Expr]:
    """Its rows are worked out, not kept: whatever differed, it is made again."""
    yield exp.Drop(tables=[place.copy()], kind="TABLE", exists=True)
    yield from _made(place, aimed)
    yield derived.filled(place, aimed)


def _dropped(place: exp.Table) -> Iterator[exp.Expr]:
    for schema in derived.of(place.name):
        beside = derived.beside(place, schema.name)
        yield exp.Drop(tables=[beside], kind="TABLE", exists=True)


def _altered(place: exp.Table, live: TableSchema, aimed: TableSchema) -> Iterator[exp.Expr]:
    there = {column.name: column for column in live.columns}
    for column in aimed.columns:
        found = there.get(column.name)
        if found is None:
            yield from _added(place, column)
        else:
            yield from _loosened(place, found, column)


def _added(place: exp.Table, column: Column) -> Iterator[exp.Expr]:
    """In two steps where it is REQUIRED: DuckDB adds no constraint with a column."""
    is_required = column.mode is Mode.REQUIRED
    plain = replace(column, mode=Mode.NULLABLE) if is_required else column
    yield _alter(place, _definition(plain))
    if is_required:
        yield _alter(place, exp.AlterColumn(this=_name(column), allow_null=True))


def _loosened(place: exp.Table, found: Column, column: Column) -> Iterator[exp.Expr]:
    if not same_default(found.default, column.default):
        default = exp.null() if column.default is None else _default(column.default)
        yield _alter(place, exp.AlterColumn(this=_name(column), default=default))
    if found.mode is not column.mode:
        yield _alter(place, exp.AlterColumn(this=_name(column), drop=True, allow_null=True))


def _written_anew(place: exp.Table, live: TableSchema, aimed: TableSchema) -> Iterator[exp.Expr]:
    new = place.copy()
    new.set("this", exp.to_identifier(_NEW.format(place.name), quoted=True))
    there = {column.name: column for column in live.columns}
    values = [_value(column, there.get(column.name)) for column in aimed.columns]
    names = [_name(column) for column in aimed.columns]
    yield _table(new, aimed, exists=False)
    yield exp.insert(exp.select(*values).from_(place.copy()), new.copy(), columns=names)
    yield exp.Drop(tables=[place.copy()], kind="TABLE")
    yield _alter(new, exp.AlterRename(this=exp.Table(this=place.this.copy())))


def _value(column: Column, found: Column | None) -> exp.Expr:
    """What a row that is there has in the column; its type is the column's by the insert."""
    default = exp.null() if column.default is None else _default(column.default)
    if found is None:
        return default
    value = exp.column(_name(column))
    if column.mode is Mode.REQUIRED and found.mode is not Mode.REQUIRED and column.default:
        return exp.func("COALESCE", value, default)
    return value


def _table(place: exp.Table, aimed: TableSchema, *, exists: bool) -> exp.Create:
    body = exp.Schema(this=place.copy(), expressions=[_definition(c) for c in aimed.columns])
    return exp.Create(this=body, kind="TABLE", exists=exists)


def _definition(column: Column) -> exp.ColumnDef:
    constraints: list[exp.Expr] = []
    if column.mode is Mode.REQUIRED:
        constraints.append(exp.NotNullColumnConstraint())
    if column.default is not None:
        constraints.append(exp.DefaultColumnConstraint(this=_default(column.default)))
    return exp.ColumnDef(
        this=_name(column),
        kind=exp.DataType.build(duck_type(column), dialect="duckdb"),
        constraints=[exp.ColumnConstraint(kind=constraint) for constraint in constraints],
    )


def _alter(place: exp.Table, action: exp.Expr) -> exp.Alter:
    return exp.Alter(this=place.copy(), kind="TABLE", actions=[action])


def _name(column: Column) -> exp.Identifier:
    return exp.to_identifier(column.name, quoted=True)


def _default(said: str) -> exp.Expr:
    return parse_one(said, dialect="bigquery")
