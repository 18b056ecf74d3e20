"""A file becomes the rows of a table, or of a day of it: a load job."""

import os
from datetime import date
from typing import BinaryIO

from google.cloud import bigquery
from google.cloud.bigquery import LoadJobConfig, ParquetOptions

from convergence.model.cancel import CancelToken
from convergence.model.table import TableSchema
from convergence.warehouse.bigquery.access import Clients
from convergence.warehouse.bigquery.faults import CALL_SECONDS
from convergence.warehouse.bigquery.jobs import Jobs, labels_of
from convergence.warehouse.bigquery.places import full
from convergence.warehouse.bigquery.types import field_of
from convergence.warehouse.question import FileForm
from convergence.warehouse.watched import watched

_FORMATS = {FileForm.PARQUET: "PARQUET", FileForm.JSONL: "NEWLINE_DELIMITED_JSON"}


class Importing:
    """Takes files in."""

    def __init__(self, clients: Clients, jobs: Jobs) -> None:
        self._clients = clients
        self._jobs = jobs

    def replace_rows(
        self, dataset: str, schema: TableSchema, file: BinaryIO, form: FileForm, day: date | None
    ) -> None:
        """The rows of a file that an `export` wrote become the table's, or those of the day."""
        partition = f"${day:%Y%m%d}" if day is not None else ""
        config = _config(schema, form)
        config.write_disposition = "WRITE_TRUNCATE"
        self._load(dataset, f"{schema.name}{partition}", file, config)

    def fill(
        self,
        dataset: str,
        schema: TableSchema,
        file: BinaryIO,
        *,
        job_id: str,
        cancel: CancelToken | None,
    ) -> None:
        """The rows of a Parquet file into a table that has none."""
        config = _config(schema, FileForm.PARQUET)
        config.write_disposition = "WRITE_EMPTY"
        self._load(dataset, schema.name, file, config, job_id=job_id, cancel=cancel)

    def _load(
        self,
        dataset: str,
        table: str,
        file: BinaryIO,
        config: LoadJobConfig,
        *,
        job_id: str = "",
        cancel: CancelToken | None = None,
    ) -> None:
        client = self._clients.of(dataset)
        read = watched(file, cancel) if cancel is not None else file
        config.labels = labels_of(dataset)

        def begin(name: str) -> bigquery.LoadJob:
            return client.load_table_from_file(
                read,
                full(self._clients.project, dataset, table),
                rewind=True,
                size=os.fstat(file.fileno()).st_size,
                job_id=name,
                job_config=config,
                timeout=CALL_SECONDS,
            )

        self._jobs.run(client, begin, job_id=job_id, cancel=cancel)


def _config(schema: TableSchema, form: FileForm) -> LoadJobConfig:
    config = LoadJobConfig(
        schema=[field_of(column) for column in schema.columns],
        source_format=_FORMATS[form],
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
