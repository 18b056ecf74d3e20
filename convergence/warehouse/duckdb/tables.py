"""Tables in a DuckDB file, made from schemas: create, widen, describe, upsert."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from functools import lru_cache
from typing import Any

import duckdb
from sqlglot import exp

from convergence.errors import NotFound
from convergence.model.table import Column, Mode, TableSchema
from convergence.warehouse.base import Upsert
from convergence.warehouse.duckdb import reshape
from convergence.warehouse.files.types import bigquery_scalar, check_name, stored_type

OWN = "main"
CENTRAL = "tenants"
"""The schema of a file that holds the published copies of the central tables."""
ROWS_AT_ONCE = 25
"""Of one INSERT: more take as long to plan as they save."""
STATEMENTS = 1024
"""That are kept as text: making one takes longer than running it."""


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


def live(
    cursor: duckdb.DuckDBPyConnection, place: exp.Table, schema: TableSchema
) -> TableSchema | None:
    """The table as it is, or None. A column that is stored as no type of BigQuery is (an INTEGER)
    has DuckDB's name of it.
    """
    rows = _described(cursor, place)
    there = [replace(_live(*row), type=stored_type(row[1].removesuffix("[]"))) for row in rows]
    return replace(schema, columns=tuple(there), expiration_days=None) if rows else None


def widen(cursor: duckdb.DuckDBPyConnection, place: exp.Table, schema: TableSchema) -> None:
    """Add the columns that the table lacks, behind those that it has."""
    there = columns(cursor, place)
    known = {column.name for column in there}
    missing = tuple(column for column in schema.columns if column.name not in known)
    aimed = replace(schema, columns=(*there, *missing))
    run(cursor, reshape.statements(place, replace(schema, columns=there), aimed))


def run(cursor: duckdb.DuckDBPyConnection, statements: Sequence[str]) -> None:
    """All of them or none."""
    with _transaction(cursor):
        for statement in statements:
            cursor.execute(statement)


def upsert(cursor: duckdb.DuckDBPyConnection, upserts: Sequence[tuple[exp.Table, Upsert]]) -> None:
    """Put rows of several tables, replacing those with the same key: all of them or none."""
    with _transaction(cursor):
        for place, each in upserts:
            _upsert(cursor, (place.catalog, place.db, place.name), each)


def _upsert(
    cursor: duckdb.DuckDBPyConnection, place: tuple[str, str, str], upsert_: Upsert
) -> None:
    rows = upsert_.rows
    types = {column.name: column.type for column in upsert_.schema.columns}
    replaced = [[_bound(row[name], types[name]) for row in rows] for name in upsert_.key]
    cursor.execute(_delete(place, upsert_.key), replaced)
    names = tuple(name for name in types if name in rows[0])
    for start in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[start : start + ROWS_AT_ONCE]
        values = [_bound(row[name], types[name]) for row in some for name in names]
        cursor.execute(_insert(place, names, len(some)), values)


@lru_cache(maxsize=STATEMENTS)
def _delete(place: tuple[str, str, str], key: tuple[str, ...]) -> str:
    """Its parameters are a list of values for each column of the key."""
    columns = [exp.column(name, quoted=True) for name in key]
    given = [exp.Anonymous(this="UNNEST", expressions=[exp.Placeholder()]) for _ in key]
    found = exp.In(this=exp.Tuple(expressions=columns), query=exp.select(*given).subquery())
    return exp.delete(_named(place), where=found).sql("duckdb")


@lru_cache(maxsize=STATEMENTS)
def _insert(place: tuple[str, str, str], names: tuple[str, ...], count: int) -> str:
    row = exp.Tuple(expressions=[exp.Placeholder() for _ in names])
    values = exp.Values(expressions=[row.copy() for _ in range(count)])
    columns = [exp.to_identifier(name, quoted=True) for name in names]
    return exp.insert(values, _named(place), columns=columns).sql("duckdb")


def _named(place: tuple[str, str, str]) -> exp.Table:
    dataset, schema, name = place
    return table(dataset, name, schema=schema)


@contextmanager
def _transaction(cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
    cursor.execute("BEGIN")
    try:
        yield
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
