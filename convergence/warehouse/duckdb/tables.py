"""Tables in a DuckDB file, made from schemas: create, widen, describe, upsert."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any

import duckdb
from sqlglot import exp

from convergence.errors import NotFound
from convergence.model.table import Column, Mode, TableSchema
from convergence.warehouse.duckdb import reshape
from convergence.warehouse.duckdb.types import bigquery_scalar, check_name

OWN = "main"
CENTRAL = "tenants"
"""The schema of a file that holds the published copies of the central tables."""


def table(dataset: str, name: str, *, schema: str = OWN) -> exp.Table:
    """The table's full name, quoted; without a name, the place where tables are."""
    return exp.table_(name and check_name(name), db=schema, catalog=dataset, quoted=True)


def exists(cursor: duckdb.DuckDBPyConnection, place: exp.Table) -> bool:
    return bool(_described(cursor, place))


def holds(cursor: duckdb.DuckDBPyConnection, place: exp.Table, schema: TableSchema) -> bool:
    """Whether the table is there with all columns of the schema."""
    return set(schema.column_names) <= {name for name, *_ in _described(cursor, place)}


def create(cursor: duckdb.DuckDBPyConnection, place: exp.Table, schema: TableSchema) -> None:
    """Make the table, and the schema of the file it lies in, where they are not there. One with a
    query has its rows from the first moment.
    """
    statements = reshape.statements(place, None, schema)
    if schema.query:
        return run(cursor, statements)
    for statement in statements:
        cursor.execute(statement)
    return None


def columns(cursor: duckdb.DuckDBPyConnection, place: exp.Table) -> tuple[Column, ...]:
    """The live columns in order. Raises NotFound."""
    rows = _described(cursor, place)
    if not rows:
        raise NotFound(f"There is no table {place.name} in {place.catalog}", code="table_not_found")
    return tuple(_live(*row) for row in rows)


def widen(cursor: duckdb.DuckDBPyConnection, place: exp.Table, schema: TableSchema) -> None:
    """Add the columns that the table lacks, behind those that it has."""
    live = columns(cursor, place)
    known = {column.name for column in live}
    missing = tuple(column for column in schema.columns if column.name not in known)
    aimed = replace(schema, columns=(*live, *missing))
    run(cursor, reshape.statements(place, replace(schema, columns=live), aimed))


def run(cursor: duckdb.DuckDBPyConnection, statements: Sequence[str]) -> None:
    """All of them or none."""
    cursor.execute("BEGIN")
    try:
        for statement in statements:
            cursor.execute(statement)
    except duckdb.Error:
        cursor.execute("ROLLBACK")
        raise
    cursor.execute("COMMIT")


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


def _described(
    cursor: duckdb.DuckDBPyConnection, place: exp.Table
) -> list[tuple[str, str, bool, str | None]]:
    """Name, type, whether it may be NULL, and default of each column; none of what is not there.

    The catalogue's own list of all columns of all tables takes five times as long.
    """
    try:
        return cursor.execute(
            'SELECT name, type, NOT "notnull", dflt_value FROM pragma_table_info(?)',
            [place.sql("duckdb")],
        ).fetchall()
    except duckdb.CatalogException:
        return []


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
