"""BigQuery's types and DuckDB's, both ways."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self

import duckdb
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


@dataclass(frozen=True, slots=True)
class SqlType:
    """A type of DuckDB as a value: its own objects must not be kept until the process ends.

    `id` is the family in lower case, `text` the whole type; a list has one child, `child`.
    """

    id: str
    text: str
    children: Mapping[str, "SqlType"] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, found: DuckDBPyType) -> Self:
        children = {}
        if found.id in {"list", "struct"}:
            children = {
                str(name): cls.of(child)
                for name, child in found.children
                if isinstance(child, DuckDBPyType)
            }
        return cls(found.id, str(found), children)

    @property
    def is_text(self) -> bool:
        return self.text in {"VARCHAR", "JSON"}


TEXT = SqlType("varchar", "VARCHAR")


def described(cursor: duckdb.DuckDBPyConnection) -> dict[str, SqlType]:
    """The columns of the statement that ran last."""
    return {column[0]: SqlType.of(column[1]) for column in cursor.description or ()}


def bigquery_columns(cursor: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, str]]:
    """Names, which may repeat, with BigQuery's types, of the statement that ran last."""
    for column in cursor.description or ():
        yield column[0], bigquery_type(SqlType.of(column[1]))


def duck_type(column: Column) -> str:
    """DuckDB's name of a column's type; one that `stored_type` gave comes back."""
    if column.type == "STRUCT":
        members = ", ".join(f'"{field.name}" {duck_type(field)}' for field in column.fields)
        name = f"STRUCT({members})"
    elif match := _PARAMETRIC.fullmatch(column.type):
        name = f"DECIMAL{match[1]}"
    else:
        name = _DUCKDB.get(column.type, column.type)
    return f"{name}[]" if column.mode is Mode.REPEATED else name


def bigquery_type(type_: SqlType) -> str:
    """BigQuery's name of a DuckDB type."""
    if type_.id == "list":
        return f"ARRAY<{bigquery_type(type_.children['child'])}>"
    if type_.id == "struct":
        members = (f"{key} {bigquery_type(child)}" for key, child in type_.children.items())
        return f"STRUCT<{', '.join(members)}>"
    return bigquery_scalar(type_.text)


def bigquery_scalar(name: str) -> str:
    """BigQuery's name of a DuckDB type without members."""
    if match := _PLACES.fullmatch(name.lower()):
        precision, scale = int(match[1]), int(match[2])
        if (precision, scale) not in {(38, 9), (38, 18)} and scale <= 9:
            return f"NUMERIC({precision},{scale})"
        return "NUMERIC" if scale <= 9 else "BIGNUMERIC"
    return _BIGQUERY.get(name.lower(), name.partition("(")[0])


def stored_type(name: str) -> str:
    """BigQuery's name of a type without members, where it is stored as this; else DuckDB's own."""
    found = bigquery_scalar(name)
    return found if _DUCKDB.get(found, name.upper()) == name.upper() else name


def check_name(name: str) -> str:
    """Give the name of a table or column back, or raise Invalid."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,299}", name):
        raise Invalid(f"{name[:60]!r} is not a name of a table or column", code="invalid_name")
    return name
