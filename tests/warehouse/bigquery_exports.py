"""An export in BigQuery: a table by the day of arrival, as Google keeps one, or a copy of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from google.cloud import bigquery

from convergence.model.table import Column
from convergence.warehouse.bigquery.types import field_of
from convergence.warehouse.schemas import gcp_export
from tests.exports import FLOATS, write_rows

FIRST_ARRIVAL = date(2025, 10, 2)


@dataclass(kw_only=True)
class Export:
    """Each name that is written is a partition; written again, its rows are others.

    A hand-made copy (`by_arrival` False) has no partitions: all of it is written again.
    """

    client: bigquery.Client
    table: str
    scratch: Path
    by_arrival: bool = True
    written: dict[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    def create(self) -> None:
        project, dataset, _ = self.table.split(".")
        self.client.create_dataset(f"{project}.{dataset}", exists_ok=True)
        made = bigquery.Table(self.table, schema=fields())
        if self.by_arrival:
            made.time_partitioning = bigquery.TimePartitioning()
        self.client.create_table(made)

    def write(self, rows: Sequence[Mapping[str, Any]], name: str, **options: Any) -> str:  # noqa: ANN401 - as write_rows has them
        """The rows as the export has them; the name of their partition."""
        self.written[name] = rows
        day = FIRST_ARRIVAL + timedelta(days=list(self.written).index(name))
        if self.by_arrival:
            unit = f"{self.table}${day:%Y%m%d}"
            self._load(rows, unit, **options)
            return unit
        self._load([row for part in self.written.values() for row in part], self.table, **options)
        return self.table

    def _load(self, rows: Sequence[Mapping[str, Any]], into: str, **options: Any) -> None:  # noqa: ANN401 - as above
        parquet = bigquery.ParquetOptions()  # type: ignore[no-untyped-call]
        parquet.enable_list_inference = True
        config = bigquery.LoadJobConfig(
            source_format="PARQUET",
            write_disposition="WRITE_TRUNCATE",
            schema=fields(),
            parquet_options=parquet,
        )
        if self.by_arrival:
            config.time_partitioning = bigquery.TimePartitioning()
        path = write_rows(self.scratch / "rows.parquet", rows, **options)
        with path.open("rb") as file:
            self.client.load_table_from_file(file, into, job_config=config).result()


def fields() -> list[bigquery.SchemaField]:
    """The columns of an export, money as FLOAT64."""
    return [field_of(_physical(column)) for column in gcp_export().columns]


def _physical(column: Column) -> Column:
    members = tuple(map(_physical, column.fields))
    return replace(column, type="FLOAT64" if column.name in FLOATS else column.type, fields=members)
