"""INFORMATION_SCHEMA.COLUMNS and TABLES of one dataset, over DuckDB's own catalogue."""

from sqlglot import exp, parse_one

from convergence.model.table import Column, Mode
from convergence.warehouse.schemas import View, central_views, views
from convergence.warehouse.sql.names import TableKind, TableRef

_VIEWS = {
    "COLUMNS": parse_one(
        r"""SELECT table_name, column_name,
            CAST(column_index AS BIGINT) AS ordinal_position,
            CASE WHEN is_nullable THEN 'YES' ELSE 'NO' END AS is_nullable,
            CASE WHEN ends_with(data_type, '[]') THEN concat('ARRAY<', element, '>')
                ELSE element END AS data_type,
            'NO' AS is_hidden, 'NO' AS is_system_defined, column_default
        FROM (
            SELECT *, CASE rtrim(data_type, '[]')
                WHEN 'VARCHAR' THEN 'STRING' WHEN 'BIGINT' THEN 'INT64'
                WHEN 'INTEGER' THEN 'INT64' WHEN 'DOUBLE' THEN 'FLOAT64'
                WHEN 'BOOLEAN' THEN 'BOOL' WHEN 'BLOB' THEN 'BYTES'
                WHEN 'TIMESTAMP WITH TIME ZONE' THEN 'TIMESTAMP' WHEN 'TIMESTAMP' THEN 'DATETIME'
                WHEN 'DECIMAL(38,9)' THEN 'NUMERIC' WHEN 'DECIMAL(38,18)' THEN 'BIGNUMERIC'
                ELSE regexp_replace(
                    rtrim(data_type, '[]'), 'DECIMAL\((\d+),(\d+)\)', 'NUMERIC(\1, \2)', 'g'
                ) END AS element
            FROM duckdb_columns() WHERE database_name = :database AND schema_name = :schema
        )""",
        dialect="duckdb",
    ),
    "TABLES": parse_one(
        """SELECT table_name,
            'BASE TABLE' AS table_type, 'YES' AS is_insertable_into, 'NO' AS is_typed
        FROM duckdb_tables() WHERE database_name = :database AND schema_name = :schema""",
        dialect="duckdb",
    ),
}


def information_schema(home: exp.Expr, *, ref: TableRef, project: str) -> exp.Subquery:
    """What stands for the view; `home` is any table of the dataset: its catalog and db are used."""
    rows = exp.replace_placeholders(
        _VIEWS[ref.view].copy(),
        database=exp.Literal.string(home.text("catalog")),
        schema=exp.Literal.string(home.text("db")),
    )
    found = central_views() if ref.kind is TableKind.CENTRAL else views()
    for name, view in found.items():
        row = _row_of(name) if ref.view == "TABLES" else _columns_of(name, view)
        rows = exp.union(rows, row, distinct=False)
    names = {"table_catalog": project, "table_schema": ref.dataset}
    fixed = [exp.alias_(exp.Literal.string(text), name) for name, text in names.items()]
    return exp.select(*fixed, exp.Star()).from_(exp.Subquery(this=rows)).subquery()


def _columns_of(name: str, view: View) -> exp.Select:
    """As many rows as it has columns, in one relation."""
    rows = [
        (name, c.name, number, "YES", _type_of(c), "NO", "NO", None)
        for number, c in enumerate(view.columns, start=1)
    ]
    names = (
        *("table_name", "column_name", "ordinal_position", "is_nullable", "data_type"),
        *("is_hidden", "is_system_defined", "column_default"),
    )
    return exp.select(*names).from_(exp.values(rows, alias="columns_", columns=names))


def _type_of(column: Column) -> str:
    return f"ARRAY<{column.type}>" if column.mode is Mode.REPEATED else column.type


def _row_of(view: str) -> exp.Select:
    texts = {"table_name": view, "table_type": "VIEW", "is_insertable_into": "NO", "is_typed": "NO"}
    return exp.select(*(exp.alias_(exp.Literal.string(text), name) for name, text in texts.items()))
