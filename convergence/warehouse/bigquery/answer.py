"""A whole answer as a file: read in Arrow, over the Storage Read API where there is one.

DuckDB writes it, so that a file has one form whatever warehouse it came from.
"""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa
from google.api_core import exceptions
from google.cloud.bigquery.job import QueryJob
from google.cloud.bigquery_storage import BigQueryReadClient
from sqlglot import exp

from convergence.errors import CdpError, Invalid
from convergence.model.cancel import CancelToken
from convergence.warehouse.bigquery.faults import CALL_SECONDS, GOOGLE_ERRORS, RETRY, told
from convergence.warehouse.files import faults
from convergence.warehouse.files.outfile import write_answer
from convergence.warehouse.question import FileForm

PACKED = 8
"""So many times as much rows may take outside of a file."""
_MONEY = pa.decimal128(38, 18)
"""What BIGNUMERIC is here: a value of more digits is refused."""


def answer_file(
    job: QueryJob,
    form: FileForm,
    storage: BigQueryReadClient | None,
    *,
    most: int | None = None,
    cancel: CancelToken | None = None,
) -> BinaryIO:
    """The rows of a job that is done, as a file without a name, of `most` bytes. Raises Invalid,
    WarehouseError, Cancelled.
    """
    trouble: list[Exception] = []
    with told(), faults.told(), _as_it_was(trouble):
        found = _fitting(_bounded(_batches(job, storage), most), cancel)
        batches = _remembering(found, trouble)
        first = next(batches)
        reader = pa.RecordBatchReader.from_batches(first.schema, chain([first], batches))
        with tempfile.TemporaryDirectory() as scratch:
            return _written(reader, _json_columns(job), form, Path(scratch), most)


def _batches(job: QueryJob, storage: BigQueryReadClient | None) -> Iterator[Any]:
    """The rows in parts, one at least: page by page where the Storage Read API is not permitted."""
    rows = job.result(retry=RETRY, timeout=CALL_SECONDS)
    found = iter(rows.to_arrow_iterable(bqstorage_client=storage))
    try:
        first = next(found, None)
    except exceptions.Forbidden:
        if storage is None:
            raise
        yield from _batches(job, None)
        return
    if first is None:
        empty = job.result(retry=RETRY, timeout=CALL_SECONDS)
        schema = empty.to_arrow(create_bqstorage_client=False).schema
        yield pa.RecordBatch.from_pylist([], schema=schema)
        return
    yield first
    yield from found


def _json_columns(job: QueryJob) -> list[str]:
    """Those that come as text."""
    fields = job.result(retry=RETRY, timeout=CALL_SECONDS).schema
    return [f.name for f in fields if f.field_type == "JSON" and f.mode != "REPEATED"]


def _written(
    reader: Any,  # noqa: ANN401 - pyarrow is untyped
    json_columns: Sequence[str],
    form: FileForm,
    scratch: Path,
    most: int | None,
) -> BinaryIO:
    """By way of a table on disk: an answer may be larger than memory."""
    as_json = [
        exp.alias_(exp.cast(exp.column(name, quoted=True), exp.DType.JSON), name, quoted=True)
        for name in json_columns
    ]
    rows = exp.select(exp.Star(replace=as_json) if as_json else exp.Star()).from_("rows_of_answer")
    with duckdb.connect(scratch / "answer.db", config={"memory_limit": "256MB"}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("rows_of_answer", reader)
        connection.execute(
            exp.Create(this=exp.to_table("answer"), kind="TABLE", expression=rows).sql("duckdb")
        )
        return write_answer(connection, "SELECT * FROM answer", form, scratch, most)


@contextmanager
def _as_it_was(trouble: Sequence[Exception]) -> Iterator[None]:
    """DuckDB reads the rows, and tells what went wrong with them in words of its own."""
    try:
        yield
    except duckdb.Error:
        if trouble:
            raise trouble[0] from None
        raise


def _remembering(batches: Iterable[Any], trouble: list[Exception]) -> Iterator[Any]:
    try:
        yield from batches
    except (CdpError, *GOOGLE_ERRORS) as error:
        trouble.append(error)
        raise


def _bounded(batches: Iterable[Any], most: int | None) -> Iterator[Any]:
    """Rows that take far more than a file may are not even fetched."""
    size = 0
    for batch in batches:
        size += batch.nbytes
        if most is not None and size > most * PACKED:
            raise Invalid(
                f"the answer takes more than {most * PACKED:,} bytes",
                code="result_too_large",
                hint="ask for fewer rows or columns, or for one part after the other",
            )
        yield batch


def _fitting(batches: Iterable[Any], cancel: CancelToken | None) -> Iterator[Any]:
    """Each batch with decimals that DuckDB has."""
    for batch in batches:
        if cancel is not None:
            cancel.check()
        fields = [_field(field) for field in batch.schema]
        try:
            columns = [
                column.cast(field.type) for column, field in zip(batch.columns, fields, strict=True)
            ]
        except pa.ArrowInvalid as error:
            raise Invalid(
                f"a BIGNUMERIC of the answer has more than 18 places: {error}",
                code="result_too_wide",
                hint="round it in the statement",
            ) from error
        yield pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def _field(field: Any) -> Any:  # noqa: ANN401 - as above
    return field.with_type(_MONEY) if pa.types.is_decimal256(field.type) else field
