"""BigQuery's types and DuckDB's, both ways."""

import re

from duckdb.sqltypes import DuckDBPyType

from convergence.errors import Invalid
from convergence.model.table import Column, Mode

_DUCKDB = {
    "STRING": "VARCHAR",
    "INT64": "BIGINT",
    "FLOAT64": "DOUBLE",
    "BOOL": "BOOLEAN",
    "NUMERIC": "DECIMAL(38,9)",
    "BIGNUMERIC": "DECIMAL(38,18)",
    "DATE": "DATE",
    "TIMESTAMP": "TIMESTAMP WITH TIME ZONE",
    "DATETIME": "TIMESTAMP",
    "TIME": "TIME",
    "JSON": "JSON",
    "BYTES": "BLOB",
}
_BIGQUERY = {
    **{duckdb.lower(): bigquery for bigquery, duckdb in _DUCKDB.items()},
    **dict.fromkeys(
        ("tinyint", "smallint", "integer", "hugeint", "utinyint", "usmallint", "uinteger"), "INT64"
    ),
    **dict.fromkeys(("ubigint", "uhugeint"), "INT64"),
    "float": "FLOAT64",
    "uuid": "STRING",
    "enum": "STRING",
    "json": "JSON",
    '"null"': "STRING",
}
_PARAMETRIC = re.compile(r"NUMERIC(\(\d+,\d+\))")
_PLACES = re.compile(r"decimal\((\d+),(\d+)\)")


def duck_type(column: Column) -> str:
    """DuckDB's name of a column's type."""
    if column.type == "STRUCT":
        members = ", ".join(f'"{field.name}" {duck_type(field)}' for field in column.fields)
        name = f"STRUCT({members})"
    elif match := _PARAMETRIC.fullmatch(column.type):
        name = f"DECIMAL{match[1]}"
    else:
        name = _DUCKDB[column.type]
    return f"{name}[]" if column.mode is Mode.REPEATED else name


def bigquery_type(type_: DuckDBPyType | str) -> str:
    """BigQuery's name of a DuckDB type."""
    name = str(type_)
    if not isinstance(type_, str) and type_.id == "list":
        return f"ARRAY<{bigquery_type(children(type_)['child'])}>"
    if not isinstance(type_, str) and type_.id == "struct":
        members = (f"{key} {bigquery_type(child)}" for key, child in children(type_).items())
        return f"STRUCT<{', '.join(members)}>"
    if match := _PLACES.fullmatch(name.lower()):
        precision, scale = int(match[1]), int(match[2])
        if (precision, scale) not in {(38, 9), (38, 18)} and scale <= 9:
            return f"NUMERIC({precision},{scale})"
        return "NUMERIC" if scale <= 9 else "BIGNUMERIC"
    return _BIGQUERY.get(name.lower(), name.partition("(")[0])


def children(type_: DuckDBPyType) -> dict[str, DuckDBPyType]:
    """The members of a STRUCT; of a LIST its element, as `child`."""
    return {str(name): child for name, child in type_.children if isinstance(child, DuckDBPyType)}


def is_text(type_: DuckDBPyType) -> bool:
    return str(type_) in {"VARCHAR", "JSON"}


def check_name(name: str) -> str:
    """Give the name of a table or column back, or raise Invalid."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,299}", name):
        raise Invalid(f"{name[:60]!r} is not a name of a table or column", code="invalid_name")
    return name
