import io
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.cloud import bigquery
from google.cloud.bigquery import QueryJobConfig, SchemaField

from tests.bigquery_rest.fixtures import bigquery_rest, bigquery_server
from tests.bigquery_rest.server import Running

__all__ = ["bigquery_rest", "bigquery_server"]
PROJECT = "my-proj-1"
DAY = date(2024, 11, 1)
COLUMNS = (
    SchemaField("day", "DATE", "REQUIRED"),
    SchemaField("name", "STRING"),
    SchemaField("cost", "NUMERIC", description="before credits"),
    SchemaField("labels", "RECORD", "REPEATED", fields=[SchemaField("key", "STRING")]),
)
Ask = Callable[..., list[tuple[Any, ...]]]
QUICK = bigquery.DEFAULT_RETRY.with_delay(0.01, 0.05)


@pytest.fixture
def client(bigquery_rest: Running) -> Iterator[bigquery.Client]:
    """google's own client, and an empty dataset `bill` in the United States."""
    with bigquery_rest.client(PROJECT) as made:
        made.create_dataset("bill")
        yield made


@pytest.fixture
def table(client: bigquery.Client) -> bigquery.Table:
    """An empty table by days."""
    table = bigquery.Table(f"{PROJECT}.bill.costs", schema=COLUMNS)
    table.time_partitioning = bigquery.TimePartitioning(field="day")
    table.clustering_fields = ["name"]
    return client.create_table(table)


@pytest.fixture
def ask(client: bigquery.Client) -> Ask:
    """The rows of a statement that is run as a job, named parameters by keyword."""

    def run(sql: str, **options: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401 - as google has them
        config = QueryJobConfig(default_dataset=f"{PROJECT}.bill", **options)
        return [tuple(row.values()) for row in client.query(sql, job_config=config).result()]

    return run


@pytest.fixture
def load(client: bigquery.Client) -> Callable[..., bigquery.LoadJob]:
    """Load rows by a Parquet file into a table or a partition."""

    def run(into: str, rows: list[dict[str, Any]], **options: Any) -> bigquery.LoadJob:  # noqa: ANN401 - the same
        parquet = bigquery.ParquetOptions()  # type: ignore[no-untyped-call]
        parquet.enable_list_inference = True
        config = bigquery.LoadJobConfig(
            source_format="PARQUET", schema=COLUMNS, parquet_options=parquet, **options
        )
        job = client.load_table_from_file(
            parquet_of(rows), f"{PROJECT}.bill.{into}", job_config=config
        )
        job.result()
        return job

    return run


def parquet_of(rows: list[dict[str, Any]]) -> io.BytesIO:
    label = pa.struct([pa.field("key", pa.string())])
    fields = [("day", pa.date32()), ("name", pa.string()), ("cost", pa.decimal128(38, 9))]
    schema = pa.schema([*fields, ("labels", pa.list_(label))])
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)
    file.seek(0)
    return file
