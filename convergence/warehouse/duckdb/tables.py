"""Tables in a DuckDB file, made from schemas: create, widen, describe, upsert."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any

import duckdb
from sqlglot import exp, parse_one

from convergence.errors import NotFound
from convergence.model.table import Column, Mode, TableSchema
from convergence.warehouse.duckdb.types import bigquery_scalar, check_name, duck_type

OWN = "main"
CENTRAL = "tenants"
"""The schema of a file that holds the published copies of the central tables."""


def table(dataset: str, name: str, *, schema: str = OWN) -> exp.Table:
    """The table's full name, quoted; without a name, the place where tables are."""
    return exp.table_(name and check_name(name), db=schema, catalog=dataset, quoted=True)


def exists(cursor: duckdb.DuckDBPyConnection, place: exp.Table) -> bool:
    found = cursor.execute(
        "SELECT count(*) FROM duckdb_tables()"
        " WHERE database_name = ? AND schema_name = ? AND table_name = ?",
        [place.catalog, place.db, place.name],
    ).fetchall()
    return bool(found[0][0])


def create(cursor: duckdb.DuckDBPyConnection, place: exp.Table, schema: TableSchema) -> None:
    """Make the table, and the schema of the file it lies in, where they are not there."""
    parent = exp.Table(db=place.args["db"], catalog=place.args["catalog"]).copy()
    cursor.execute(exp.Create(this=parent, kind="SCHEMA", exists=True).sql("duckdb"))
    body = exp.Schema(this=place.copy(), expressions=[_definition(c) for c in schema.columns])
    cursor.execute(exp.Create(this=body, kind="TABLE", exists=True).sql("duckdb"))


def columns(cursor: duckdb.DuckDBPyConnection, place: exp.Table) -> tuple[Column, ...]:
    """The live columns in order. Raises NotFound."""
    rows = cursor.execute(
        "SELECT column_name, data_type, is_nullable, column_default FROM duckdb_columns()"
        " WHERE database_name = ? AND schema_name = ? AND table_name = ? ORDER BY column_index",
        [place.catalog, place.db, place.name],
    ).fetchall()
    if not rows:
        raise NotFound(f"There is no table {place.name} in {place.catalog}", code="table_not_found")
    return tuple(_live(*row) for row in rows)


def widen(cursor: duckdb.DuckDBPyConnection, place: exp.Table, schema: TableSchema) -> list[str]:
    """Add the columns that the table lacks; the statements that were run.

    Rows that are there get NULL, as on BigQuery; where the schema says REQUIRED, the default.
    """
    live = {column.name for column in columns(cursor, place)}
    statements = [
        statement
        for column in schema.columns
        if column.name not in live
        for statement in _additions(place, column)
    ]
    for statement in statements:
        cursor.execute(statement)
    return statements


def upsert(
    cursor: duckdb.DuckDBPyConnection,
    place: exp.Table,
    schema: TableSchema,
    key: tuple[str, ...],
    rows: Sequence[Mapping[str, Any]],
) -> None:
    """Put rows in one transaction, replacing those with the same key. Columns not given: NULL."""
    types = {column.name: column.type for column in schema.columns}
    same_key = exp.and_(*(exp.column(name, quoted=True).eq(exp.Placeholder()) for name in key))
    delete = exp.delete(place.copy(), where=same_key)
    names = [name for name in schema.column_names if name in rows[0]]
    values = exp.Values(expressions=[exp.Tuple(expressions=[exp.Placeholder() for _ in names])])
    insert = exp.insert(
        values, place.copy(), columns=[exp.to_identifier(n, quoted=True) for n in names]
    )
    cursor.execute("BEGIN")
    try:
        cursor.executemany(
            delete.sql("duckdb"), [[_bound(row[name], types[name]) for name in key] for row in rows]
        )
        cursor.executemany(
            insert.sql("duckdb"),
            [[_bound(row[name], types[name]) for name in names] for row in rows],
        )
    except duckdb.Error:
        cursor.execute("ROLLBACK")
        raise
    cursor.execute("COMMIT")


def _definition(column: Column) -> exp.ColumnDef:
    constraints: list[exp.Expr] = []
    if column.mode is Mode.REQUIRED:
        constraints.append(exp.NotNullColumnConstraint())
    if column.default is not None:
        constraints.append(exp.DefaultColumnConstraint(this=_default(column.default)))
    return exp.ColumnDef(
        this=exp.to_identifier(column.name, quoted=True),
        kind=exp.DataType.build(duck_type(column), dialect="duckdb"),
        constraints=[exp.ColumnConstraint(kind=constraint) for constraint in constraints],
    )


def _additions(place: exp.Table, column: Column) -> list[str]:
    plain = replace(column, default=None, mode=_nullable(column.mode))
    actions: list[exp.Expr] = [_definition(plain)]
    name = exp.to_identifier(column.name, quoted=True)
    if column.default is not None:
        actions.append(exp.AlterColumn(this=name, default=_default(column.default)))
    statements = [
        exp.Alter(this=place.copy(), kind="TABLE", actions=[action]).sql("duckdb")
        for action in actions
    ]
    if column.default is not None and column.mode is Mode.REQUIRED:
        fill = exp.update(place.copy(), {f'"{column.name}"': _default(column.default)})
        strict = exp.AlterColumn(this=name.copy(), allow_null=False)
        alter = exp.Alter(this=place.copy(), kind="TABLE", actions=[strict])
        statements += [fill.sql("duckdb"), alter.sql("duckdb")]
    return statements


def _nullable(mode: Mode) -> Mode:
    return Mode.NULLABLE if mode is Mode.REQUIRED else mode


def _default(said: str) -> exp.Expr:
    return parse_one(said, dialect="bigquery")


def _live(name: str, type_: str, is_nullable: bool, default: str | None) -> Column:  # noqa: FBT001 - a row
    repeated = type_.endswith("[]")
    mode = Mode.REPEATED if repeated else Mode.NULLABLE if is_nullable else Mode.REQUIRED
    return Column(
        name=name,
        type=bigquery_scalar(type_.removesuffix("[]")),
        mode=mode,
        default=None if default in {None, "NULL"} else default,
    )


def _bound(value: Any, type_: str) -> Any:  # noqa: ANN401 - a value of a row, whatever its type
    if isinstance(value, Enum):
        return value.value
    if type_ == "JSON" and value is not None and not isinstance(value, str):
        return json.dumps(value, default=str, sort_keys=True)
    return value
