"""A statement that is asked of a warehouse: who asks, how much it may take, what comes back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from convergence.model.source import GrantedSource

Value = str | int | bool | date | datetime | None
Parameters = Mapping[str, Value]
"""The values of `@name` in a statement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a caller may read: datasets, and sources as far as they were granted.

    `tenant_id` None is the operator, who may name any one dataset of `datasets` in a statement.
    """

    project: str
    tenant_id: str | None
    datasets: frozenset[str]
    sources: tuple[GrantedSource, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryLimits:
    """Wall time; rows of the result, the rest cut off and said so; characters in all of it.

    `file_bytes` is the most that an answer as a file may take on the disk, if there is a limit.
    """

    seconds: float = 30.0
    rows: int = 10_000
    characters: int = 32_000_000
    file_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Columns as (name, BigQuery type); decimals as Decimal, timestamps aware, UTC."""

    columns: tuple[tuple[str, str], ...]
    rows: Sequence[tuple[Any, ...]]
    truncated: bool
    sql: str


class FileForm(StrEnum):
    """Files that an answer can be. In CSV values are written as in JSON, NULL is nothing."""

    CSV = "csv"
    PARQUET = "parquet"
    JSON = "json"
    JSONL = "jsonl"
    SHEET = "sheet"
    """CSV in which no text is a formula to a spreadsheet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What a statement would read of a source: the files that may hold the rows, their size, and
    of how many that the source has.
    """

    source: str
    files: int
    bytes: int
    matched: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """A statement that was checked and not run.

    `statement` is the BigQuery SQL with its names filled, `sql` what this engine would run;
    `notes` say what of it is approximate; `columns` are (name, BigQuery type). `bytes` are what the
    engine would bill for, None where it bills for nothing.
    """

    statement: str
    sql: str
    notes: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    reads: tuple[Read, ...]
    bytes: int | None = None
