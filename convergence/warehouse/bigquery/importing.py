"""A file that an `export` wrote becomes the rows of a table, or of a day of it: a load job."""

from datetime import date
from typing import BinaryIO

from google.cloud import bigquery
from google.cloud.bigquery import LoadJobConfig, ParquetOptions

from convergence.model.table import TableSchema
from convergence.warehouse.base import FileForm
from convergence.warehouse.bigquery.access import Clients
from convergence.warehouse.bigquery.faults import CALL_SECONDS
from convergence.warehouse.bigquery.jobs import Jobs
from convergence.warehouse.bigquery.places import full
from convergence.warehouse.bigquery.types import field_of

_FORMATS = {FileForm.PARQUET: "PARQUET", FileForm.JSONL: "NEWLINE_DELIMITED_JSON"}


class Importing:
    """Takes files in."""

    def __init__(self, clients: Clients, jobs: Jobs) -> None:
        self._clients = clients
        self._jobs = jobs

    def replace_rows(
        self, dataset: str, schema: TableSchema, file: BinaryIO, form: FileForm, day: date | None
    ) -> None:
        """The file's rows become the table's, or those of the day."""
        client = self._clients.of(dataset)
        partition = f"${day:%Y%m%d}" if day is not None else ""
        target = full(self._clients.project, dataset, f"{schema.name}{partition}")

        def begin(name: str) -> bigquery.LoadJob:
            return client.load_table_from_file(
                file,
                target,
                rewind=True,
                job_id=name,
                job_config=_config(schema, form),
                timeout=CALL_SECONDS,
            )

        self._jobs.run(client, begin)


def _config(schema: TableSchema, form: FileForm) -> LoadJobConfig:
    config = LoadJobConfig(
        schema=[field_of(column) for column in schema.columns],
        source_format=_FORMATS[form],
        write_disposition="WRITE_TRUNCATE",
        create_disposition="CREATE_NEVER",
        clustering_fields=list(schema.cluster_by) or None,
    )
    if schema.partition_by is not None:
        config.time_partitioning = bigquery.TimePartitioning(field=schema.partition_by)
    if form is FileForm.PARQUET:
        options = ParquetOptions()  # type: ignore[no-untyped-call]
        options.enable_list_inference = True
        config.parquet_options = options
    return config
