"""Values and schemas as the wire has them, and back."""

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from convergence.model.table import Column, Mode
from convergence.warehouse.files.types import SqlType, bigquery_scalar
from tests.bigquery_rest.faults import invalid

Json = dict[str, Any]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LEGACY = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN", "STRUCT": "RECORD"}
_STANDARD = {legacy: standard for standard, legacy in _LEGACY.items()}
WIDTH = {"INT64": 8, "FLOAT64": 8, "DATE": 8, "TIMESTAMP": 8, "DATETIME": 8, "TIME": 8, "BOOL": 1}
"""Bytes of a value of a type; a text, and what else has no fixed size, counts 16."""


def column(field: Mapping[str, Any]) -> Column:
    type_ = field["type"].upper()
    type_ = _STANDARD.get(type_, type_)
    if field.get("precision"):
        type_ = f"{type_}({field['precision']},{field.get('scale', 0)})"
    return Column(
        name=field["name"],
        type=type_,
        mode=Mode(field.get("mode") or "NULLABLE"),
        default=field.get("defaultValueExpression"),
        description=field.get("description") or "",
        fields=tuple(map(column, field.get("fields", ()))),
    )


def field(of: Column) -> Json:
    name, _, sizes = of.type.partition("(")
    said: Json = {"name": of.name, "type": _LEGACY.get(name, name), "mode": str(of.mode)}
    if sizes:
        said["precision"], said["scale"] = sizes.rstrip(")").split(",")
    if of.default is not None:
        said["defaultValueExpression"] = of.default
    if of.description:
        said["description"] = of.description
    if of.fields:
        said["fields"] = list(map(field, of.fields))
    return said


def schema(columns: Sequence[Column]) -> Json:
    return {"fields": list(map(field, columns))}


def column_of(name: str, type_: SqlType) -> Column:
    """A column of a result, by what DuckDB says of it."""
    mode = Mode.NULLABLE
    if type_.id == "list":
        type_, mode = type_.children["child"], Mode.REPEATED
        if type_.id == "list":
            raise invalid("Cannot return an ARRAY of ARRAY", "invalidQuery")
    if type_.id == "struct":
        members = tuple(column_of(key, child) for key, child in type_.children.items())
        return Column(name=name, type="STRUCT", mode=mode, fields=members)
    return Column(name=name, type=bigquery_scalar(type_.text), mode=mode)


def width(of: Column) -> int:
    if of.fields:
        return sum(map(width, of.fields))
    return WIDTH.get(of.type.partition("(")[0], 16)


def row(values: Sequence[Any], columns: Sequence[Column], timestamps: str) -> Json:
    """`timestamps` is INT64, ISO8601_STRING or FLOAT64."""
    pairs = zip(values, columns, strict=True)
    return {"f": [{"v": _cell(value, of, timestamps)} for value, of in pairs]}


def _cell(value: Any, of: Column, timestamps: str) -> Any:  # noqa: ANN401 - a cell of the wire
    if of.mode is Mode.REPEATED:
        return [{"v": _one(item, of, timestamps)} for item in value or ()]
    return _one(value, of, timestamps)


def _one(value: Any, of: Column, timestamps: str) -> Any:  # noqa: ANN401 - a cell of the wire
    if value is None:
        return None
    if of.fields:
        return row([value[member.name] for member in of.fields], of.fields, timestamps)
    if isinstance(value, datetime):
        return _instant(value, timestamps) if value.tzinfo else value.isoformat()
    return _text(value)


def _text(value: Any) -> str:  # noqa: ANN401 - a scalar of any type
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Decimal):
        text = format(value, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, date | time):
        return value.isoformat()
    return repr(value) if isinstance(value, float) else str(value)


def _instant(value: datetime, timestamps: str) -> str:
    micros = (value - EPOCH) // (datetime.resolution)
    if timestamps == "INT64":
        return str(micros)
    if timestamps == "ISO8601_STRING":
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return repr(micros / 1e6)
