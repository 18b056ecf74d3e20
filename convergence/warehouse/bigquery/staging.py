"""One load into BigQuery, from its query to its proof: a table that expires is what is staged.

The rows and the source's own sums are read as of one moment, after the source's partitions were
listed: what arrives later is seen by the next load.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from uuid import uuid4

from sqlglot import exp

from convergence.errors import (
    Cancelled,
    CdpError,
    Invalid,
    NotFound,
    StepFailed,
    StepInterrupted,
    Unavailable,
    WarehouseError,
)
from convergence.model.cancel import CancelToken
from convergence.model.load import EXPIRED, FileState, LoadKey, SourceState
from convergence.model.money import Totals
from convergence.model.restatement import Change
from convergence.model.table import Column, TableSchema
from convergence.warehouse.bad_rows import null_in
from convergence.warehouse.base import (
    Parameters,
    QueryLimits,
    Result,
    StagedTotals,
    StageRequest,
    WriteMode,
)
from convergence.warehouse.bigquery import changes, parts, trouble
from convergence.warehouse.bigquery.access import Clients
from convergence.warehouse.bigquery.faults import CALL_SECONDS, RETRY, told
from convergence.warehouse.bigquery.jobs import TIMEOUT, Estimate, Jobs
from convergence.warehouse.bigquery.looking import Looking
from convergence.warehouse.bigquery.places import STAGED, passing, place
from convergence.warehouse.bigquery.reading import Look, answer_of, prepare
from convergence.warehouse.bigquery.sources import Sight
from convergence.warehouse.bigquery.sums import (
    TableSums,
    source_query,
    source_sums,
    table_query,
    table_sums,
)
from convergence.warehouse.bigquery.tables import Tables
from convergence.warehouse.bigquery.types import columns_of
from convergence.warehouse.locks import Part, PartLocks
from convergence.warehouse.schemas import load_schema
from convergence.warehouse.sql import fill, names
from convergence.warehouse.sql.statement import parse

LOADS = "x_meta_loads"
ALL = QueryLimits(rows=1_000_000)
"""What a question to staged rows may answer: a part of it would be another answer."""


@dataclass(slots=True, eq=False, kw_only=True)
class StagedLoad:
    """Rows in a table of their own, and how they were found."""

    request: StageRequest
    name: str
    table: exp.Table
    target: exp.Table
    columns: tuple[Column, ...]
    statement: str
    sight: Sight | None
    units: tuple[FileState, ...]
    holds: ExitStack = field(default_factory=ExitStack)
    totals: StagedTotals | None = None
    is_open: bool = True
    is_published: bool = False

    @property
    def key(self) -> LoadKey:
        return self.request.key


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a load would run: its query as it is and in place, and the columns that it gives."""

    query: exp.Query
    statement: str
    sights: tuple[Sight, ...]
    estimate: Estimate

    @property
    def units(self) -> tuple[FileState, ...]:
        """All partitions, or files, that the sources have."""
        return tuple(unit for sight in self.sights for unit in sight.listed)

    @property
    def given(self) -> tuple[Column, ...]:
        return columns_of(self.estimate.fields)


class Staging:
    """Stages loads, proves them and lets go of them."""

    def __init__(
        self,
        clients: Clients,
        jobs: Jobs,
        tables: Tables,
        *,
        looking: Looking,
        now: Callable[[], datetime],
    ) -> None:
        self._now = now
        self._clients = clients
        self._jobs = jobs
        self._tables = tables
        self._looking = looking
        self._locks = PartLocks()

    def plan(self, request: StageRequest, look: Look | None = None) -> Plan:
        """The load's query, checked by a dry run. By itself it only looks at the sources."""
        tree = fill.fill(request.sql, request.names, request.parameters)
        resolved = names.resolve(tree, request.scope)
        seen = partial(self._looking.for_plan, request.dataset, day=parts.day_of(request))
        prepared = prepare(request.dataset, resolved, look or seen)
        estimate = self._jobs.estimate(request.dataset, prepared.sql)
        return Plan(
            query=prepared.tree,
            statement=tree.sql("bigquery", pretty=True),
            sights=prepared.sights,
            estimate=estimate,
        )

    def stage(self, request: StageRequest, cancel: CancelToken) -> StagedLoad:
        """Write the rows into a table that no reader sees. Loads of the same day wait in turn."""
        part = Part(request.dataset, f"{request.table}/{request.key.source}", request.key.day)
        with ExitStack() as holds, explained(request):
            holds.enter_context(self._locks.hold(part, cancel.check))
            self._check_kept(request)
            prefix = f"{STAGED}{_digest(request.key)}_"
            self._clear(request.dataset, prefix)
            with self._looking.for_load(request, prefix, cancel) as look:
                plan = self.plan(request, look)
                self._jobs.check_bytes(request.dataset, plan.estimate)
                columns = self._ensure_tables(request, plan.given)
                name = f"{prefix}{uuid4().hex[:12]}"
                staged = self._write(request, plan, columns, name, cancel)
            staged.holds = holds.pop_all()
            return staged

    def _write(
        self,
        request: StageRequest,
        plan: Plan,
        columns: tuple[Column, ...],
        name: str,
        cancel: CancelToken,
    ) -> StagedLoad:
        staged = StagedLoad(
            request=request,
            name=name,
            table=place(self._clients.project, request.dataset, name),
            target=place(self._clients.project, request.dataset, request.table),
            columns=columns,
            statement=plan.statement,
            sight=plan.sights[0] if plan.sights else None,
            units=plan.units,
        )
        rows = parts.rows(request, plan.query, plan.given, columns)
        try:
            self._jobs.query(request.dataset, passing(staged.table, rows), cancel=cancel)
            if request.mode is WriteMode.MERGE:
                self._check_keys(staged, cancel)
        except CdpError:
            self.discard(staged)
            raise
        return staged

    def totals(self, staged: StagedLoad, cancel: CancelToken) -> StagedTotals:
        """The sums of both sides. When they cannot be taken, the load is discarded."""
        self.check_open(staged)
        try:
            with explained(staged.request):
                staged.totals = self._totals(staged, cancel)
        finally:
            if staged.totals is None:
                self.discard(staged)
        return staged.totals

    def look(
        self, staged: StagedLoad, sql: str, cancel: CancelToken, parameters: Parameters
    ) -> Result:
        """Answer a statement that sees the staged rows in their table."""
        self.check_open(staged)
        request = staged.request
        kept = parts.kept(request, staged.columns, staged.table)
        shown = [exp.column(column.name, quoted=True) for column in staged.columns]
        both = exp.union(
            exp.select(*shown).from_(staged.table.copy()),
            exp.select(*shown).from_(staged.target.copy()).where(kept),
            distinct=False,
        )
        with explained(request), self._looking.for_check(request.dataset, cancel) as look_at:
            tree = fill.put_parameters(parse(sql), parameters)
            resolved = names.resolve(tree, request.scope)
            instead = {request.table: both.subquery()}
            prepared = prepare(request.dataset, resolved, look_at, instead=instead)
            job = self._jobs.query(request.dataset, prepared.sql, cancel=cancel)
            columns, found = answer_of(job, ALL)
        if len(found) > ALL.rows:
            raise StepFailed(
                f"{request.table} {request.key.day}: more than {ALL.rows:,} rows are the answer",
                code="result_too_large",
            )
        return Result(columns=columns, rows=found, truncated=False, sql=prepared.sql)

    def discard(self, staged: StagedLoad) -> None:
        """Drop what was staged. When BigQuery is away, it expires by itself."""
        if staged.is_open:
            staged.is_open = False
            with staged.holds, suppress(CdpError):
                self._tables.remove(staged.request.dataset, staged.name)

    def check_open(self, staged: StagedLoad) -> None:
        if not staged.is_open:
            raise WarehouseError(
                f"{staged.key.table} {staged.key.day}: nothing is staged any more",
                code="not_staged",
                hint="stage the load again",
            )

    def _check_kept(self, request: StageRequest) -> None:
        """A partition is gone as soon as it is there when its day began longer ago than the table
        keeps.
        """
        schema = request.schema or TableSchema(name=request.table, columns=())
        schema = self._tables.live(request.dataset, schema) or schema
        first = schema.first_kept(self._now())
        if first is None or request.mode is not WriteMode.REPLACE_PARTITION:
            return
        if request.key.day < first:
            raise StepFailed(
                f"{request.table} {request.key.day}: the table keeps {schema.expiration_days} days",
                code=EXPIRED,
                hint="older days are not kept in BigQuery: ask the export itself for them",
            )

    def _ensure_tables(self, request: StageRequest, given: Sequence[Column]) -> tuple[Column, ...]:
        """Make the tables that are not there; a table without a schema grows with its query."""
        schema = request.schema or parts.inferred(request, given)
        found = self._tables.find(request.dataset, request.table)
        if found is None:
            self._tables.ensure(request.dataset, load_schema(LOADS))
            self._tables.ensure(request.dataset, schema)
            return schema.columns
        live = columns_of(found.schema)
        if request.schema is not None:
            return live
        return self._tables.widen(request.dataset, schema, live)

    def _check_keys(self, staged: StagedLoad, cancel: CancelToken) -> None:
        request = staged.request
        found = self._answer(staged, parts.repeated_keys(request, staged.table), cancel)
        if found:
            raise StepFailed(
                f"{request.table}: the query gives several rows for one key: {found}",
                code="merge_key_repeated",
                hint="merge_keys must tell the rows apart: " + ", ".join(request.merge_keys),
            )

    def _totals(self, staged: StagedLoad, cancel: CancelToken) -> StagedTotals:
        written, previous = self._sides(staged, cancel)
        self._check(staged, written, cancel)
        source, state = self._source(staged, cancel)
        return StagedTotals(
            rows=written.rows,
            loaded=written.totals,
            source=source,
            previous=previous.totals,
            previous_rows=previous.rows,
            previous_hash=previous.content_hash,
            content_hash=written.content_hash,
            state=state,
            matched=frozenset(unit.path for unit in staged.units),
            sql=staged.statement,
            changes=self._changes(staged, written, previous, cancel),
        )

    def _sides(self, staged: StagedLoad, cancel: CancelToken) -> tuple[TableSums, TableSums]:
        """What was staged, and what it replaces."""
        request, columns = staged.request, staged.columns
        is_billing = parts.is_billing(request)
        new = table_query(
            "new",
            staged.table,
            columns,
            is_billing=is_billing,
            stray=parts.is_stray(request, columns),
        )
        old = table_query(
            "old", staged.target, columns, is_billing=is_billing, stray=exp.false()
        ).where(parts.replaced(request, columns, staged.table))
        found = self._answer(staged, exp.union(new, old, distinct=False), cancel)
        return table_sums(found, columns, "new"), table_sums(found, columns, "old")

    def _check(self, staged: StagedLoad, written: TableSums, cancel: CancelToken) -> None:
        request = staged.request
        if written.nulls:
            where = f"{request.dataset}.{request.table}"
            raise null_in(where, written.nulls, self._rows_without(staged, written.nulls, cancel))
        if written.strays:
            strays = parts.strays(request, staged.columns, staged.table)
            found = self._answer(staged, strays, cancel)
            seen = ", ".join(f"{count} on {day}" for day, count in found[:5])
            raise StepFailed(
                f"{request.table} {request.key.day}: rows fall on another day: {seen}",
                code="other_day",
                hint=f"filter the query by the day; {request.partition_by} must be the run's date",
            )

    def _rows_without(self, staged: StagedLoad, columns: Sequence[str], cancel: CancelToken) -> str:
        """Which rows lack a value: those of the files, or keys that find them in the table."""
        if staged.sight is not None and staged.sight.source.files is not None:
            source = staged.sight.source
            return self._looking.rows_without(staged.request, source, columns, cancel)
        there = [column.name for column in staged.columns]
        ask = partial(self._answer, staged, cancel=cancel)
        return trouble.rows_without(ask, staged.table, there, columns)

    def _source(self, staged: StagedLoad, cancel: CancelToken) -> tuple[Totals | None, SourceState]:
        """The source's own sums, as of the moment at which it was staged."""
        if staged.sight is None or not parts.is_billing(staged.request):
            return None, SourceState(files=staged.units)
        if (read := staged.sight.read) is not None:
            return read.totals, read.state
        found = self._answer(staged, source_query(staged.sight), cancel)
        sums = source_sums(found, staged.sight, staged.units, staged.request.table)
        return sums.totals, sums.state

    def _changes(
        self, staged: StagedLoad, written: TableSums, previous: TableSums, cancel: CancelToken
    ) -> tuple[Change, ...]:
        request = staged.request
        is_same = written.content_hash == previous.content_hash
        if is_same or not (request.with_changes and parts.is_billing_day(request)):
            return ()
        old = parts.replaced(request, staged.columns, staged.table)
        query = changes.of_day(staged.table, staged.target, staged.columns, old)
        return changes.found(self._answer(staged, query, cancel))

    def _answer(
        self, staged: StagedLoad, query: exp.Query, cancel: CancelToken
    ) -> list[tuple[Any, ...]]:
        job = self._jobs.query(staged.request.dataset, query.sql("bigquery"), cancel=cancel)
        with told():
            return [row.values() for row in job.result(retry=RETRY, timeout=CALL_SECONDS)]

    def _clear(self, dataset: str, prefix: str) -> None:
        """Drop what an attempt of the same load left: it can publish no more."""
        for name in self._tables.names(dataset, prefix):
            self._tables.remove(dataset, name)


def _digest(key: LoadKey) -> str:
    text = f"{key.table}/{key.day}/{key.source}"
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


@contextmanager
def explained(request: StageRequest) -> Iterator[None]:
    """Make BigQuery's errors StepFailed: those that pass are worth another attempt."""
    where = f"{request.dataset}.{request.table}"
    try:
        yield
    except Unavailable as error:
        raise StepInterrupted(
            f"{where}: {error.detail}", code=error.code, hint=error.hint
        ) from error
    except Invalid as error:
        code = "query_failed" if error.code == "sql_failed" else error.code
        raise StepFailed(f"{where}: {error.detail}", code=code, hint=error.hint) from error
    except Cancelled as error:
        if error.code != TIMEOUT:
            raise
        raise StepFailed(f"{where}: {error.detail}", code=error.code, hint=error.hint) from error
    except (NotFound, WarehouseError) as error:
        if error.code == "not_staged":
            raise
        raise StepFailed(f"{where}: {error.detail}", code=error.code, hint=error.hint) from error
