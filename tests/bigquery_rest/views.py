"""INFORMATION_SCHEMA of a dataset, as rows."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from convergence.model.table import Column
from tests.bigquery_rest.catalog import Catalog, Dataset
from tests.bigquery_rest.tables import Table

Row = tuple[Any, ...]
_NAMES = "table_catalog STRING, table_schema STRING, table_name STRING"
SHAPES = {
    "TABLES": f"{_NAMES}, table_type STRING, creation_time TIMESTAMP",
    "COLUMNS": f"{_NAMES}, column_name STRING, ordinal_position INT64, is_nullable STRING,"
    " data_type STRING, is_hidden STRING, is_partitioning_column STRING, column_default STRING",
    "PARTITIONS": f"{_NAMES}, partition_id STRING, total_rows INT64, total_logical_bytes INT64,"
    " last_modified_time TIMESTAMP, storage_tier STRING",
    "TABLE_OPTIONS": f"{_NAMES}, option_name STRING, option_type STRING, option_value STRING",
}


def columns(view: str) -> tuple[Column, ...]:
    pairs = (part.strip().split(" ") for part in SHAPES[view].split(","))
    return tuple(Column(name=name, type=type_) for name, type_ in pairs)


def rows(catalog: Catalog, dataset: Dataset, view: str) -> list[Row]:
    found = _VIEWS[view]
    return [
        (dataset.project, dataset.name, table.name.table, *row)
        for table in dataset.tables.values()
        for row in found(catalog, table)
    ]


def _tables(_: Catalog, table: Table) -> Iterator[Row]:
    kind = "BASE TABLE" if table.view_query is None else "VIEW"
    yield kind, _moment(table.created)


def _columns(_: Catalog, table: Table) -> Iterator[Row]:
    by = table.partition_columns
    for number, column in enumerate(table.columns, 1):
        nullable = "NO" if column.mode == "REQUIRED" else "YES"
        is_partition = "YES" if column.name.lower() in by else "NO"
        yield column.name, number, nullable, _type(column), "NO", is_partition, column.default


def _partitions(catalog: Catalog, table: Table) -> Iterator[Row]:
    if table.view_query is not None:
        return
    found = catalog.partitions(table)
    if table.partitioning is None:
        found = [("", catalog.count(table.name.duckdb), table.modified)]
    for name, count, modified in found:
        yield name or None, count, count * table.row_bytes, _moment(modified), "ACTIVE"


def _options(_: Catalog, table: Table) -> Iterator[Row]:
    if table.body.get("description"):
        yield "description", "STRING", repr(table.body["description"])


def _type(column: Column) -> str:
    name = column.type
    if column.fields:
        name = f"STRUCT<{', '.join(f'{field.name} {_type(field)}' for field in column.fields)}>"
    return f"ARRAY<{name}>" if column.mode == "REPEATED" else name


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


_VIEWS: Mapping[str, Callable[[Catalog, Table], Iterator[Row]]] = {
    "TABLES": _tables,
    "COLUMNS": _columns,
    "PARTITIONS": _partitions,
    "TABLE_OPTIONS": _options,
}
