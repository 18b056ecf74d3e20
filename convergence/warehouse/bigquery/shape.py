"""Rows of an export table in the canonical shape: columns by name, money exact, what lacks NULL."""

from collections.abc import Iterable, Sequence

from sqlglot import exp

from convergence.model.table import Column, Mode
from convergence.warehouse.bigquery.types import data_type, type_text
from convergence.warehouse.schemas import whole_columns

_ELEMENT, _NUMBER = "element_", "number_"


def canonical(wanted: Sequence[Column], live: Sequence[Column]) -> list[exp.Expr]:
    """The wanted columns, each under its name, from those that are there."""
    there = {column.name: column for column in live}
    return [
        exp.alias_(_value(column, there.get(column.name), ()), column.name, quoted=True)
        for column in wanted
    ]


def lacking(required: Iterable[str], live: Sequence[Column]) -> list[str]:
    """The required columns, or members of records, that a table does not have."""
    paths = {path for column in live for path in _paths(column)}
    return whole_columns(path for path in required if path not in paths)


def _paths(column: Column) -> list[str]:
    return [column.name, *(f"{column.name}.{member.name}" for member in column.fields)]


def _value(wanted: Column, found: Column | None, within: tuple[str, ...]) -> exp.Expr:
    if found is None:
        return exp.Cast(this=exp.null(), to=data_type(wanted))
    value = _path((*within, wanted.name))
    if type_text(found) == type_text(wanted):
        return value
    if wanted.mode is Mode.REPEATED:
        return _array(wanted, found, value)
    return _one(wanted, found, (*within, wanted.name))


def _one(wanted: Column, found: Column, path: tuple[str, ...]) -> exp.Expr:
    """A value that is not an array, in the wanted type; a record member by member."""
    if not wanted.fields:
        return exp.Cast(this=_path(path), to=data_type(wanted))
    there = {member.name: member for member in found.fields}
    members = [
        exp.PropertyEQ(
            this=exp.to_identifier(member.name, quoted=True),
            expression=_value(member, there.get(member.name), path),
        )
        for member in wanted.fields
    ]
    is_null = exp.Is(this=_path(path), expression=exp.null())
    return exp.If(this=is_null, true=exp.null(), false=exp.Struct(expressions=members))


def _array(wanted: Column, found: Column, value: exp.Expr) -> exp.Expr:
    """The elements in the wanted type, in their order; no array stays none."""
    element = exp.select(
        *canonical_members(wanted, found),
    )
    element.set("kind", "STRUCT")
    unnest = exp.Unnest(
        expressions=[value],
        alias=exp.TableAlias(columns=[exp.to_identifier(_ELEMENT)]),
        offset=exp.to_identifier(_NUMBER),
    )
    return exp.Array(expressions=[element.from_(unnest).order_by(_NUMBER)])


def canonical_members(wanted: Column, found: Column) -> list[exp.Expr]:
    there = {member.name: member for member in found.fields}
    return [
        exp.alias_(_value(member, there.get(member.name), (_ELEMENT,)), member.name, quoted=True)
        for member in wanted.fields
    ]


def _path(parts: tuple[str, ...]) -> exp.Expr:
    value: exp.Expr = exp.column(parts[0], quoted=parts[0] != _ELEMENT)
    for part in parts[1:]:
        value = exp.Dot(this=value, expression=exp.to_identifier(part, quoted=True))
    return value
