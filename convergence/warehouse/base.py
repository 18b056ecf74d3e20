"""The protocol of a warehouse: the only way the engine and the steps reach the tenants' data.

A load is `stage` -> `totals` -> `publish` or `discard`. Until `publish` returns, readers see the
old rows; whether a `publish` that was cut off took effect is answered by `is_published`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol

from convergence.model.cancel import CancelToken
from convergence.model.load import FileState
from convergence.model.source import GrantedSource
from convergence.model.table import Column, TableSchema
from convergence.model.unit import Unit
from convergence.warehouse.question import (
    Explained,
    FileForm,
    Parameters,
    QueryLimits,
    Result,
    Scope,
)
from convergence.warehouse.staged import LoadRecord, Staged, StagedTotals, StageRequest

Rows = Sequence[Mapping[str, Any]]
"""Of a ledger table, by column."""


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
