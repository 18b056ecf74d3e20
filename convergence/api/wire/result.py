"""Results: questions of SQL, and costs."""

import base64
import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Annotated, Any, Protocol

from pydantic import ConfigDict, Field

from convergence.api.wire.shape import In, Json, Out


class Rows(Protocol):
    """What the warehouse answered: columns as (name, BigQuery type), and rows."""

    @property
    def columns(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def rows(self) -> Sequence[tuple[Any, ...]]: ...
    @property
    def truncated(self) -> bool: ...


class QueryIn(In):
    """One SELECT in BigQuery SQL."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"sql": "SELECT SUM(cost) FROM billing_cost_daily"}]}
    )

    sql: Annotated[str, Field(min_length=1, max_length=100_000)]


class ColumnOut(Out):
    name: str
    type: str


class ResultOut(Out):
    """NUMERIC and BIGNUMERIC are texts, timestamps ISO 8601 with Z."""

    columns: list[ColumnOut]
    rows: list[list[Any]]
    row_count: int
    truncated: bool


def result_out(result: Rows) -> ResultOut:
    return ResultOut(
        columns=[ColumnOut(name=name, type=kind) for name, kind in result.columns],
        rows=[[json_value(value) for value in row] for row in result.rows],
        row_count=len(result.rows),
        truncated=result.truncated,
    )


def items_out(result: Rows) -> list[Json]:
    """Each row as a mapping by column."""
    names = [name for name, _ in result.columns]
    return [dict(zip(names, map(json_value, row), strict=True)) for row in result.rows]


def json_value(value: Any) -> Any:  # noqa: ANN401 - a value of the warehouse, then of JSON
    """A value of the warehouse as JSON: nothing is rounded, nothing is lost."""
    if isinstance(value, Mapping):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [json_value(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return _text(value)


def _text(value: object) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    return str(value)
