"""BigQuery's fields and our columns, both ways."""

import re
from collections.abc import Sequence

from google.cloud.bigquery import SchemaField
from sqlglot import exp

from convergence.model.table import Column, Mode

_API = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN", "STRUCT": "RECORD"}
_SQL = {name: sql for sql, name in _API.items()}
_PLACES = re.compile(r"(?P<type>[A-Z]+)\((?P<precision>\d+),\s*(?P<scale>\d+)\)")


def field_of(column: Column) -> SchemaField:
    places = _PLACES.fullmatch(column.type)
    type_ = places["type"] if places else column.type
    said = {
        "name": column.name,
        "type": _API.get(type_, type_),
        "mode": column.mode.value,
        "description": column.description,
        "defaultValueExpression": column.default,
        "fields": [field_of(member).to_api_repr() for member in column.fields],
        **({"precision": places["precision"], "scale": places["scale"]} if places else {}),
    }
    return SchemaField.from_api_repr({name: value for name, value in said.items() if value})


def column_of(field: SchemaField) -> Column:
    type_ = _SQL.get(field.field_type, field.field_type)
    if field.precision is not None:
        type_ = f"{type_}({field.precision},{field.scale or 0})"
    return Column(
        name=field.name,
        type=type_,
        mode=Mode(field.mode or Mode.NULLABLE),
        default=field.default_value_expression or None,
        description=field.description or "",
        fields=tuple(column_of(member) for member in field.fields),
    )


def columns_of(fields: Sequence[SchemaField]) -> tuple[Column, ...]:
    return tuple(column_of(field) for field in fields)


def type_text(column: Column) -> str:
    """The column's type as SQL has it."""
    text = column.type
    if column.fields:
        members = ", ".join(f"{each.name} {type_text(each)}" for each in column.fields)
        text = f"STRUCT<{members}>"
    return f"ARRAY<{text}>" if column.mode is Mode.REPEATED else text


def data_type(column: Column) -> exp.DataType:
    return exp.DataType.build(type_text(column), dialect="bigquery")
