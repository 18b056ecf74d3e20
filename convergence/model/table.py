"""The shape of a table, engine-free. Types are BigQuery's names; read from schemas/*.yml."""

from dataclasses import astuple, dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from hashlib import sha256


class Mode(StrEnum):
    NULLABLE = "NULLABLE"
    REQUIRED = "REQUIRED"
    REPEATED = "REPEATED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column. `type` is a BigQuery type: STRING INT64 FLOAT64 BOOL NUMERIC DATE JSON …"""

    name: str
    type: str
    mode: Mode = Mode.NULLABLE
    default: str | None = None
    description: str = ""
    fields: tuple["Column", ...] = ()
    """The members of a STRUCT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSchema:
    """A table: columns in order, the partition column (a DATE or TIMESTAMP), cluster columns; for
    how many days a partition is kept, None for ever.

    `is_billing` tables hold money: they are loaded by replacing (day, x_source) and reconciled.
    A table with a `key` is published from the store: one row for each key, the newest.
    A table with a `query`, BigQuery SQL over one other table of its dataset, always holds the
    rows of its answer: they change in one act with that table's.
    """

    name: str
    columns: tuple[Column, ...]
    partition_by: str | None = None
    expiration_days: int | None = None
    cluster_by: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    description: str = ""
    is_billing: bool = False
    query: str = ""

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def first_kept(self, now: datetime) -> date | None:
        """Where rows expire, days before it have; None where all days are kept."""
        if self.expiration_days is None or self.partition_by is None:
            return None
        return (now - timedelta(days=self.expiration_days - 1)).date()

    @property
    def checksum(self) -> str:
        """The same for the same table, whatever is said about it."""
        bare = [replace(column, description="") for column in self.columns]
        shape = ([astuple(column) for column in bare], self.partition_by, self.cluster_by)
        return sha256(repr(shape).encode()).hexdigest()
