"""The protocol of a warehouse: the only way the engine and the steps reach the tenants' data.

A load is `stage` -> `totals` -> `publish` or `discard`. Until `publish` returns, readers see the
old rows; whether a `publish` that was cut off took effect is answered by `is_published`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol

from convergence.model.cancel import CancelToken
from convergence.model.load import FileState, LoadKey, SourceState
from convergence.model.money import Totals
from convergence.model.restatement import Change
from convergence.model.source import GrantedSource
from convergence.model.table import Column, TableSchema
from convergence.model.unit import Unit

Value = str | int | bool | date | datetime | None
Parameters = Mapping[str, Value]
"""The values of `@name` in a statement."""
Rows = Sequence[Mapping[str, Any]]
"""Of a ledger table, by column."""


class WriteMode(StrEnum):
    """How staged rows meet those that are there."""

    REPLACE_PARTITION = "replace_partition"
    OVERWRITE = "overwrite"
    APPEND = "append"
    MERGE = "merge"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Upsert:
    """Rows of a ledger table, which replace those with the same key. Columns not given: NULL."""

    schema: TableSchema
    key: tuple[str, ...]
    rows: Rows


class Warehouse(Protocol):
    """Every adapter passes tests/warehouse/contract.py."""

    loads_together: ClassVar[bool]
    """Whether days may be staged and published in one act."""

    def check(self) -> None:
        """Whether the warehouse can be written to. Raises WarehouseError."""
        ...

    def check_new_datasets(self) -> str:
        """Whether datasets can be made; what of that could not be found out, as words, or "".
        Raises WarehouseError where they cannot.
        """
        ...

    def ensure_dataset(self, dataset: str) -> bool:
        """Make the dataset if it is not there. True if it was made."""
        ...

    def drop_dataset(self, dataset: str) -> None: ...

    def copy_dataset(self, dataset: str, path: Path) -> None:
        """Write all of a dataset, as it is now, to a file that can take its place. Raises NotFound,
        and WarehouseError where datasets are not files.
        """
        ...

    def ensure_table(self, dataset: str, schema: TableSchema) -> bool:
        """Make the table if it is not there. True if it was made."""
        ...

    def live(self, dataset: str, schema: TableSchema) -> TableSchema | None:
        """The table as it is; None when it is not there. What the engine does not have at all
        (partitions, clustering) is as in `schema`; days do not expire where no engine lets them.
        Raises NotFound for the dataset.
        """
        ...

    def evolve(
        self, dataset: str, schema: TableSchema, *, approved: bool = False, is_plan: bool = False
    ) -> Sequence[str]:
        """Bring the table to `schema`, as far as `model/drift.py` allows, in acts that leave it
        whole wherever they are cut off; the statements. `is_plan`: they are not run.
        """
        ...

    def columns(self, dataset: str, table: str) -> tuple[Column, ...]:
        """The live columns in order. Raises NotFound."""
        ...

    def stage(self, request: StageRequest, cancel: CancelToken) -> Staged:
        """Write the rows, invisible to readers. Raises StepFailed with the cause and the place."""
        ...

    def stage_together(
        self, requests: Sequence[StageRequest], cancel: CancelToken
    ) -> Sequence[Staged]:
        """Stage days of one table, to be published together.

        A warehouse may read and write them at once, and refuse what it cannot: code not_together.
        So it does with all where `loads_together` is False.
        """
        ...

    def totals(self, staged: Staged, cancel: CancelToken) -> StagedTotals: ...

    def look(
        self,
        staged: Staged,
        sql: str,
        cancel: CancelToken,
        parameters: Parameters | None = None,
    ) -> Result:
        """Answer a statement of BigQuery SQL that sees the staged rows in their table, and those
        that were staged together with them. A text that says `@name` for what differs each time
        need not be translated again. The answer is whole.

        Raises Invalid, and StepFailed for what it does wrong as it runs.
        """
        ...

    def publish(self, staged: Staged, record: LoadRecord) -> None:
        """Make the rows and the record visible in one act. Safe to repeat."""
        ...

    def publish_together(self, loads: Sequence[tuple[Staged, LoadRecord]]) -> None:
        """Publish all that was staged together: in one act, where the warehouse can;
        else each load in one. Safe to repeat.
        """
        for staged, record in loads:
            self.publish(staged, record)

    def discard(self, staged: Staged) -> None:
        """Drop what was staged. Safe to repeat, and after a publish."""
        ...

    def is_published(self, dataset: str, load_id: str) -> bool:
        """Whether a load took effect. What has not, from now on never will: not for readers."""
        ...

    def is_visible(self, dataset: str, load_id: str) -> bool:
        """Whether readers see a load by now, and then its record. Waits for no publish."""
        ...

    def query(
        self, scope: Scope, sql: str, limits: QueryLimits, cancel: CancelToken | None = None
    ) -> Result:
        """One read-only statement of BigQuery SQL. Raises Invalid, WarehouseError, Cancelled."""
        ...

    def export(
        self,
        scope: Scope,
        sql: str,
        form: FileForm,
        limits: QueryLimits,
        cancel: CancelToken | None = None,
    ) -> BinaryIO:
        """The whole answer of `query` as a file without a name, which the caller closes.

        It is complete before any of it can be read; rows are not limited, memory is.
        """
        ...

    def import_rows(
        self,
        dataset: str,
        schema: TableSchema,
        file: BinaryIO,
        form: FileForm,
        *,
        day: date | None = None,
    ) -> None:
        """Put the rows of a file that `export` wrote, Parquet or JSONL, in the place of the
        table's rows, or of those whose `schema.partition_by` falls on a day. One act, safe to
        repeat. Raises NotFound, WarehouseError.
        """
        ...

    def explain(self, scope: Scope, sql: str) -> Explained:
        """What this engine would run, checked; no row is read. Raises as `query` does."""
        ...

    def explain_load(self, request: StageRequest) -> Explained:
        """The same for the query of a load; nothing is made or changed. Raises as `stage` does."""
        ...

    def upsert(self, dataset: str, schema: TableSchema, key: tuple[str, ...], rows: Rows) -> None:
        """Put rows of a ledger table, replacing those with the same key."""
        ...

    def upsert_all(self, dataset: str, upserts: Sequence[Upsert], *, seen_at: datetime) -> None:
        """Put rows of several tables, as the store had them not before `seen_at`, by its own
        clock, into a tenant's dataset or the operator's; a warehouse that can shows them all at
        once. Where many processes publish, rows that were seen later hold, whatever order they
        arrive in. Raises NotFound for the dataset and for a table.
        """
        ...

    def source_kind(self, source: GrantedSource) -> GrantedSource:
        """The source with `kind` AUTO replaced by what its columns or its name say."""
        ...

    def files_of(self, source: GrantedSource) -> tuple[FileState, ...]:
        """The files that a source has at this moment, by path."""
        ...

    def survey(
        self,
        dataset: str,
        source: GrantedSource,
        files: Sequence[FileState],
        known: Mapping[str, Unit],
        cancel: CancelToken,
    ) -> tuple[Unit, ...]:
        """What each of the files holds of each usage day, as far as the grant allows.
        A file with the content of a `known` unit is not read again; one that cannot be has a
        `fault`. Raises StepInterrupted for one that changes, Invalid for its kind of export.
        """
        ...

    def rows_of_day(
        self, dataset: str, source: GrantedSource, path: str, day: date, cancel: CancelToken
    ) -> str:
        """Where in a file or partition the rows of a usage day are, in words; one more read."""
        ...

    def storage_bytes(self, dataset: str) -> int: ...

    def close(self) -> None: ...
