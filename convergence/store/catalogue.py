"""The control store's catalogue, as it is and as `tables.py` wants it, in the words of `model/`.

Types are the database's own names. The durable engine's tables are not looked at.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from convergence.model.drift import Drift, DriftKind, Verdict, compare
from convergence.model.table import Column, Mode, TableSchema
from convergence.store.adopt import retired_tables
from convergence.store.tables import metadata

_CAST = re.compile(r"::[a-z ]+(\(\d+(,\d+)?\))?$")
_NUMBER = re.compile(r"'(-?\d+)'")
_PARTIAL = ("sqlite", "postgresql")
_NOW = {"now()": "CURRENT_TIMESTAMP"}


def drifts(connection: sa.Connection) -> list[Drift]:
    """Every difference between the store and its schema, table by table."""
    there, parts = live_tables(connection), _parts(connection)
    found = [
        drift
        for table in metadata.sorted_tables
        for drift in (
            *compare(wanted(table, connection.dialect), there.get(table.name)),
            *_lost(table, parts.get(table.name)),
        )
    ]
    retired = [
        Drift(table=old, kind=DriftKind.RETIRED, verdict=Verdict.ADDITIVE, wanted=table.name)
        for old, table in retired_tables(connection)
    ]
    return found + retired


def wanted(table: sa.Table, dialect: sa.Dialect) -> TableSchema:
    return TableSchema(
        name=table.name,
        columns=tuple(
            Column(
                name=column.name,
                type=_type(column.type, dialect),
                mode=Mode.NULLABLE if column.nullable else Mode.REQUIRED,
                default=_default(default_of(column, dialect)),
            )
            for column in table.columns
        ),
    )


def default_of(column: sa.Column[Any], dialect: sa.Dialect) -> str | None:
    """The expression, as the database is told it."""
    compiler = dialect.ddl_compiler(dialect, sa.schema.CreateTable(column.table))
    return compiler.get_column_default_string(column)


def live_tables(connection: sa.Connection) -> Mapping[str, TableSchema]:
    """Those of our tables that are there, by name."""
    found = sa.inspect(connection).get_multi_columns()
    return {
        name: TableSchema(
            name=name,
            columns=tuple(
                Column(
                    name=column["name"],
                    type=_type(column["type"], connection.dialect),
                    mode=Mode.NULLABLE if column["nullable"] else Mode.REQUIRED,
                    default=_default(column["default"]),
                )
                for column in columns
            ),
        )
        for (_, name), columns in found.items()
        if name in metadata.tables
    }


Parts = Mapping[DriftKind, Mapping[str, str]]
"""A table's constraints and indexes by name, and what can be told of each."""


def _parts(connection: sa.Connection) -> dict[str, Parts]:
    """Of each table. A primary key goes by its columns: SQLite may forget its name."""
    inspector = sa.inspect(connection)
    keys = inspector.get_multi_pk_constraint()
    uniques, references = (
        inspector.get_multi_unique_constraints(),
        inspector.get_multi_foreign_keys(),
    )
    indexes = inspector.get_multi_indexes()
    return {
        place[1]: {
            DriftKind.CONSTRAINT: {
                _key(keys[place]["constrained_columns"]): "",
                **{str(found["name"]): "" for found in uniques.get(place, ())},
                **{str(found["name"]): "" for found in references.get(place, ())},
            },
            DriftKind.INDEX: {
                str(found["name"]): _form(
                    found["column_names"],
                    is_unique=bool(found["unique"]),
                    is_partial=any(name.endswith("_where") for name in _options(found)),
                )
                for found in indexes.get(place, ())
            },
        }
        for place in keys
    }


def _lost(table: sa.Table, there: Parts | None) -> Iterator[Drift]:
    if there is None:
        return
    named = [part for part in table.constraints if part is not table.primary_key]
    constraints = {str(part.name): "" for part in named}
    key = _key([column.name for column in table.primary_key])
    for kind, wants in (
        (DriftKind.CONSTRAINT, constraints | {key: ""}),
        (DriftKind.INDEX, {str(index.name): _wanted_form(index) for index in table.indexes}),
    ):
        for name, form in sorted(wants.items()):
            found = there[kind].get(name)
            if found != form:
                drift = Drift(table=table.name, kind=kind, verdict=Verdict.ADDITIVE, column=name)
                yield drift if found is None else replace(drift, wanted=form, found=found)


def _options(found: sa.engine.interfaces.ReflectedIndex) -> Mapping[str, Any]:
    return found.get("dialect_options") or {}


def _wanted_form(index: sa.Index) -> str:
    is_partial = any(index.dialect_options[name]["where"] is not None for name in _PARTIAL)
    names = [column.name for column in index.columns]
    return _form(names, is_unique=bool(index.unique), is_partial=is_partial)


def _form(columns: Sequence[str | None], *, is_unique: bool, is_partial: bool) -> str:
    unique, some = "unique " if is_unique else "", " of some rows" if is_partial else ""
    return f"{unique}({', '.join(name or '…' for name in columns)}){some}"


def _key(columns: Sequence[str]) -> str:
    return f"primary key ({', '.join(columns)})"


def _type(type_: sa.types.TypeEngine[object], dialect: sa.Dialect) -> str:
    return type_.compile(dialect)


def _default(said: str | None) -> str | None:
    """Without what PostgreSQL adds: casts, and quotes around numbers."""
    if said is None or said.startswith("nextval("):
        return None
    plain = _CAST.sub("", said)
    return _NOW.get(plain, _NUMBER.sub(r"\1", plain))
