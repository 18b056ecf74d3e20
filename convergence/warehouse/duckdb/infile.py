"""Rows of a file that an `export` wrote, here or in another warehouse, into a table."""

import shutil
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import duckdb
from sqlglot import exp

from convergence.model.table import TableSchema
from convergence.warehouse.duckdb import derived
from convergence.warehouse.files.types import duck_type
from convergence.warehouse.question import FileForm


@dataclass(frozen=True, slots=True, kw_only=True)
class InFile:
    """An open file, and a folder that the engine may read it from."""

    file: BinaryIO
    form: FileForm
    scratch: Path


def replace_rows(
    cursor: duckdb.DuckDBPyConnection,
    place: exp.Table,
    schema: TableSchema,
    given: InFile,
    *,
    day: date | None,
) -> None:
    """The file's rows become the table's, or those of the day. Raises duckdb.Error; then nothing
    has changed.
    """
    path = given.scratch / f"{uuid4()}.{given.form}"
    try:
        with path.open("wb") as target:
            shutil.copyfileobj(given.file, target)
        where = _of_day(schema, day)
        cursor.execute("BEGIN")
        try:
            cursor.execute(exp.delete(place.copy(), where=where).sql("duckdb"))
            cursor.execute(_insert(place, schema, path, given.form))
            derived.refresh(cursor, place, where)
        except duckdb.Error:
            cursor.execute("ROLLBACK")
            raise
        cursor.execute("COMMIT")
    finally:
        path.unlink(missing_ok=True)


def _of_day(schema: TableSchema, day: date | None) -> exp.Expr | None:
    if day is None:
        return None
    column = exp.column(schema.partition_by or "", quoted=True)
    return exp.cast(column, exp.DType.DATE).eq(exp.convert(day))


def _insert(place: exp.Table, schema: TableSchema, path: Path, form: FileForm) -> str:
    names = [exp.to_identifier(column.name, quoted=True) for column in schema.columns]
    values = [
        exp.cast(exp.column(column.name, quoted=True), duck_type(column), dialect="duckdb")
        for column in schema.columns
    ]
    rows = exp.select(*values).from_(_reader(schema, path, form))
    return exp.insert(rows, place.copy(), columns=names).sql("duckdb")


def _reader(schema: TableSchema, path: Path, form: FileForm) -> exp.Expr:
    where = exp.Literal.string(str(path))
    if form is FileForm.PARQUET:
        return exp.Anonymous(this="read_parquet", expressions=[where])
    types = ", ".join(
        f"{exp.Literal.string(column.name).sql('duckdb')}: '{duck_type(column)}'"
        for column in schema.columns
    )
    options = exp.Var(this=f"format = 'newline_delimited', columns = {{{types}}}")
    return exp.Anonymous(this="read_json", expressions=[where, options])
