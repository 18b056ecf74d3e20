"""A whole answer as a file: read in Arrow, over the Storage Read API where there is one.

DuckDB writes it, so that a file has one form whatever warehouse it came from.
"""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa
from google.cloud.bigquery.job import QueryJob
from google.cloud.bigquery_storage import BigQueryReadClient

from convergence.errors import Invalid
from convergence.model.cancel import CancelToken
from convergence.warehouse.base import FileForm
from convergence.warehouse.bigquery.faults import CALL_SECONDS, RETRY, told
from convergence.warehouse.duckdb.outfile import write_answer

_MONEY = pa.decimal128(38, 18)
"""What BIGNUMERIC is here: a value of more digits is refused."""


def answer_file(
    job: QueryJob, form: FileForm, storage: BigQueryReadClient | None, cancel: CancelToken | None
) -> BinaryIO:
    """The rows of a job that is done, as a file without a name. Raises Invalid, Cancelled."""
    with told():
        rows = job.result(retry=RETRY, timeout=CALL_SECONDS)
        batches = _fitting(rows.to_arrow_iterable(bqstorage_client=storage), cancel)
        first = next(batches)
        reader = pa.RecordBatchReader.from_batches(first.schema, _chained(first, batches))
        with tempfile.TemporaryDirectory() as scratch:
            return _written(reader, form, Path(scratch))


def _written(reader: Any, form: FileForm, scratch: Path) -> BinaryIO:  # noqa: ANN401 - pyarrow is untyped
    """By way of a table on disk: an answer may be larger than memory."""
    with duckdb.connect(scratch / "answer.db", config={"memory_limit": "256MB"}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("rows_of_answer", reader)
        connection.execute("CREATE TABLE answer AS SELECT * FROM rows_of_answer")
        return write_answer(connection, "SELECT * FROM answer", form, scratch)


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


def _chained(first: Any, rest: Iterator[Any]) -> Iterator[Any]:  # noqa: ANN401 - as above
    yield first
    yield from rest
