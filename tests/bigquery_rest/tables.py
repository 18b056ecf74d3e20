"""A table of the fake: its resource, its partitions, where its rows are."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlglot import parse_one
from typing_extensions import override

from convergence.model.table import Column
from convergence.warehouse.files.types import duck_type
from tests.bigquery_rest import wire
from tests.bigquery_rest.wire import Json

PARTITION_FORMATS = {"HOUR": "%Y%m%d%H", "DAY": "%Y%m%d", "MONTH": "%Y%m", "YEAR": "%Y"}
PSEUDO = (
    Column(name="_PARTITIONTIME", type="TIMESTAMP"),
    Column(name="_PARTITIONDATE", type="DATE"),
)


class Name(NamedTuple):
    """A table's whole name. A `$decorator` is not part of it."""

    project: str
    dataset: str
    table: str

    @override
    def __str__(self) -> str:
        return f"{self.project}:{self.dataset}.{self.table}"

    @property
    def reference(self) -> Json:
        return {"projectId": self.project, "datasetId": self.dataset, "tableId": self.table}

    @property
    def duckdb(self) -> str:
        return f'"{self.project}.{self.dataset}"."{self.table}"'


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(kw_only=True)
class Table:
    """`body` holds what a caller may set, as it was sent, without schema and reference."""

    name: Name
    columns: tuple[Column, ...]
    body: Json
    created: int = field(default_factory=now_ms)
    modified: int = field(default_factory=now_ms)
    partition_times: dict[str, int] = field(default_factory=dict)
    versions: list[tuple[int, str]] = field(default_factory=list)
    """What the table was until a moment in microseconds, oldest first: DuckDB's name of it."""
    is_streamed: bool = False
    """Whether rows are in the streaming buffer, which no statement changes."""

    @property
    def view_query(self) -> str | None:
        view: Json = self.body.get("view") or {}
        return view.get("query")

    @property
    def partitioning(self) -> Json | None:
        return self.body.get("timePartitioning")

    @property
    def has_pseudo_columns(self) -> bool:
        return self.partitioning is not None and not self.partitioning.get("field")

    @property
    def partition_columns(self) -> frozenset[str]:
        """What a condition may name to read fewer partitions, in lower case."""
        if self.partitioning is None:
            return frozenset()
        if self.has_pseudo_columns:
            return frozenset(column.name.lower() for column in PSEUDO)
        return frozenset({self.partitioning["field"].lower()})

    @property
    def partition_id(self) -> str:
        """DuckDB's expression of a row's partition."""
        if self.partitioning is None:
            return "''"
        column = self.partitioning.get("field") or "_PARTITIONTIME"
        form = PARTITION_FORMATS[self.partitioning.get("type", "DAY")]
        return f"""coalesce(strftime("{column}", '{form}'), '__NULL__')"""

    @property
    def row_bytes(self) -> int:
        return sum(map(wire.width, self.columns))

    def resource(self, *, location: str, rows: int) -> Json:
        kind = "VIEW" if self.view_query is not None else "TABLE"
        return {
            **self.body,
            "kind": "bigquery#table",
            "id": str(self.name),
            "etag": f"{self.modified}",
            "type": kind,
            "tableReference": self.name.reference,
            "schema": wire.schema(self.columns),
            "numRows": str(rows),
            "numBytes": str(rows * self.row_bytes),
            "creationTime": str(self.created),
            "lastModifiedTime": str(self.modified),
            "location": location,
        }


def duckdb_columns(columns: Sequence[Column], *, has_pseudo: bool) -> str:
    parts = [
        f'"{column.name}" {duck_type(column)}{default_of(column)}'
        f"{' NOT NULL' if column.mode == 'REQUIRED' else ''}"
        for column in columns
    ]
    return ", ".join([*parts, '"_PARTITIONTIME" TIMESTAMPTZ'] if has_pseudo else parts)


def default_of(column: Column) -> str:
    """What an INSERT gives a column that it does not name."""
    if column.default is None:
        return ""
    return f" DEFAULT ({parse_one(column.default, dialect='bigquery').sql('duckdb')})"
