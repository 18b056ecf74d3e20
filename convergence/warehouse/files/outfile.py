"""A whole answer as a CSV, JSON or Parquet file, written by DuckDB in bounded memory."""

from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import duckdb
from sqlglot import exp

from convergence.warehouse.files.interrupt import growing
from convergence.warehouse.files.types import SqlType, described
from convergence.warehouse.question import FileForm

_OPTIONS = {
    FileForm.CSV: "FORMAT csv, HEADER, PRESERVE_ORDER true",
    FileForm.SHEET: "FORMAT csv, HEADER, PRESERVE_ORDER true",
    FileForm.JSON: "FORMAT json, ARRAY true",
    FileForm.JSONL: "FORMAT json",
    FileForm.PARQUET: "FORMAT parquet, COMPRESSION zstd, PRESERVE_ORDER true",
}
_OF_JSON = {FileForm.JSON, FileForm.JSONL}
_WIDE = {"hugeint", "uhugeint"}
"""What SUM makes of INT64; Parquet has no such integer."""
_MOMENTS = {"timestamp": "", "timestamp with time zone": "Z"}


def write_answer(
    cursor: duckdb.DuckDBPyConnection,
    sql: str,
    form: FileForm,
    scratch: Path,
    most: int | None = None,
) -> BinaryIO:
    """Run DuckDB's statement into a file of `scratch` that has no name any more when it is given.

    `most` limits its bytes. Raises duckdb.Error, and Invalid for too large; then nothing is left.
    """
    rows = exp.Subquery(this=exp.Var(this=sql), alias=exp.to_identifier("rows_"))
    cursor.execute(exp.select("*").from_(rows).limit(0).sql("duckdb"))
    columns = [_column(name, kind, form) for name, kind in described(cursor).items()]
    query = exp.select(*columns).from_(rows).sql("duckdb")
    path = scratch / f"{uuid4()}.{form}"
    try:
        target = exp.Literal.string(str(path)).sql("duckdb")
        with growing(cursor, path, most):
            cursor.execute(f"COPY ({query}) TO {target} ({_OPTIONS[form]})")
        return path.open("rb")
    finally:
        path.unlink(missing_ok=True)


def _column(name: str, kind: SqlType, form: FileForm) -> exp.Expr:
    column = exp.column(name, quoted=True)
    value: exp.Expr = column
    if form is not FileForm.PARQUET:
        value = _json_value(column, kind) if form in _OF_JSON else _csv_value(column, kind)
    if form is FileForm.SHEET and kind.is_text:
        value = _no_formula(column)
    if kind.id in _WIDE:
        value = exp.cast(column, exp.DataType.build("DECIMAL(38,0)", dialect="duckdb"))
    return exp.alias_(value, name, quoted=True)


def _json_value(column: exp.Column, kind: SqlType) -> exp.Expr:
    """Decimals as texts, digit by digit."""
    if kind.id == "decimal":
        return exp.cast(column, exp.DType.VARCHAR)
    return _csv_value(column, kind) if kind.text.lower() in _MOMENTS else column


def _no_formula(column: exp.Column) -> exp.Expr:
    is_formula = _call("REGEXP_MATCHES", column, exp.Literal.string(r"^[=+\-@\t\r]"))
    plain = _call("CONCAT", exp.Literal.string("'"), column.copy())
    return exp.Case().when(is_formula, plain).else_(column.copy())


def _csv_value(column: exp.Column, kind: SqlType) -> exp.Expr:
    """As JSON writes it: moments as ISO 8601, lists and structs as JSON, bytes as base64."""
    if kind.text.lower() in _MOMENTS:
        text = _call("STRFTIME", column, exp.Literal.string("%Y-%m-%dT%H:%M:%S.%f"))
        short = _call("REPLACE", text, exp.Literal.string(".000000"), exp.Literal.string(""))
        zone = exp.Literal.string(_MOMENTS[kind.text.lower()])
        return exp.DPipe(this=short, expression=zone)
    if kind.id in {"list", "struct"}:
        return exp.cast(_call("TO_JSON", column), exp.DType.VARCHAR)
    if kind.id == "blob":
        return _call("BASE64", column)
    return column


def _call(function: str, *arguments: exp.Expr) -> exp.Anonymous:
    return exp.Anonymous(this=function, expressions=list(arguments))
