"""A load as a warehouse sees it: what is asked for, what was staged, what it is proven by."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from convergence.model.load import FileState, LoadKey, SourceState
from convergence.model.money import Totals
from convergence.model.restatement import Change
from convergence.model.table import TableSchema
from convergence.warehouse.question import Scope, Value


class WriteMode(StrEnum):
    """How staged rows meet those that are there."""

    REPLACE_PARTITION = "replace_partition"
    OVERWRITE = "overwrite"
    APPEND = "append"
    MERGE = "merge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surveyed:
    """What a survey found the source to hold of the day: its sums need not be taken again, so
    long as the files are still the same.
    """

    totals: Totals
    state: SourceState
    files: frozenset[FileState]
    """All files of the source, those without rows of the day included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRequest:
    """A SELECT in BigQuery SQL whose rows shall become the day `key.day` of `schema.name`.

    `names` fill `{name}` on the syntax tree: inside a quoted string as text, inside backticks as
    part of a checked identifier, bare as a typed value. `parameters` fill `@name`. `stamps` are
    columns that the query does not give (x_run_id, x_source, x_ingested_at, the partition).
    `schema` None: the table takes the shape of the query, plus the stamps.
    """

    dataset: str
    table: str
    schema: TableSchema | None
    scope: Scope
    key: LoadKey
    sql: str
    names: Mapping[str, Value] = field(default_factory=dict)
    parameters: Mapping[str, Value] = field(default_factory=dict)
    stamps: Mapping[str, Value] = field(default_factory=dict)
    mode: WriteMode = WriteMode.REPLACE_PARTITION
    partition_by: str = "ingestion_date"
    merge_keys: tuple[str, ...] = ()
    limit: int | None = None
    surveyed: Surveyed | None = None
    accounts: frozenset[str] = frozenset()
    """Billing accounts that the source is known by: files of others are refused."""
    with_changes: bool = False
    """Whether the totals shall say which keys of a billing table's day change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedTotals:
    """What was staged beside what the source holds, over one sight of it; and what it replaces.

    `source` is computed from the source itself, not through the step's query; it is None where
    the table is not a billing table.
    """

    rows: int
    loaded: Totals
    source: Totals | None
    previous: Totals
    previous_rows: int
    previous_hash: str
    content_hash: str
    state: SourceState
    matched: frozenset[str]
    """The files (or tables) the source has at all, those without rows of the day included."""
    sql: str
    """The query with its names filled, in BigQuery SQL."""
    changes: tuple[Change, ...] = ()
    """The keys at which the new rows and the old ones differ, when the request asks for them."""

    @property
    def is_unchanged(self) -> bool:
        return (self.rows, self.content_hash) == (self.previous_rows, self.previous_hash)


class Staged(Protocol):
    """Rows that are written but not yet visible. Held by one thread at a time."""

    @property
    def key(self) -> LoadKey: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRecord:
    """The row of `x_meta_loads` that becomes visible in the same act as the rows."""

    load_id: str
    run_id: str
    attempt: int
    template_hash: str
    is_sample: bool
    loaded_at: datetime
