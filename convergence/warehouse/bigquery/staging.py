"""One load into BigQuery, from its query to its proof: a table that expires is what is staged.

The rows and the source's own sums are read as of one moment, after the source's partitions were
listed: what arrives later is seen by the next load.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import uuid4

from sqlglot import exp

from convergence.errors import (
    CdpError,
    StepFailed,
    WarehouseError,
)
from convergence.model.cancel import CancelToken
from convergence.model.load import EXPIRED, FileState, LoadKey
from convergence.model.table import Column, TableSchema
from convergence.warehouse.bigquery import parts
from convergence.warehouse.bigquery.access import Clients
from convergence.warehouse.bigquery.jobs import Estimate, Jobs
from convergence.warehouse.bigquery.looking import Looking
from convergence.warehouse.bigquery.places import STAGED, passing, place
from convergence.warehouse.bigquery.proof import Proof
from convergence.warehouse.bigquery.reading import Look, prepare
from convergence.warehouse.bigquery.sources import Sight
from convergence.warehouse.bigquery.tables import Tables
from convergence.warehouse.bigquery.types import columns_of
from convergence.warehouse.bigquery.written import LOADS, StagedLoad, explained
from convergence.warehouse.locks import Part, PartLocks
from convergence.warehouse.question import Parameters, Result
from convergence.warehouse.schemas import load_schema
from convergence.warehouse.sql import fill, names
from convergence.warehouse.staged import StagedTotals, StageRequest, WriteMode


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
        self._proof = Proof(jobs, looking)
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
                self._proof.check_keys(staged, cancel)
        except CdpError as error:
            self.discard(staged)
            self._proof.check_amounts(staged, error, cancel)
            raise
        return staged

    def totals(self, staged: StagedLoad, cancel: CancelToken) -> StagedTotals:
        """The sums of both sides. When they cannot be taken, the load is discarded."""
        self.check_open(staged)
        try:
            with explained(staged.request):
                staged.totals = self._proof.totals(staged, cancel)
        finally:
            if staged.totals is None:
                self.discard(staged)
        return staged.totals

    def look(
        self, staged: StagedLoad, sql: str, cancel: CancelToken, parameters: Parameters
    ) -> Result:
        """Answer a statement that sees the staged rows in their table."""
        self.check_open(staged)
        return self._proof.look(staged, sql, cancel, parameters)

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

    def _clear(self, dataset: str, prefix: str) -> None:
        """Drop what an attempt of the same load left: it can publish no more."""
        for name in self._tables.names(dataset, prefix):
            self._tables.remove(dataset, name)


def _digest(key: LoadKey) -> str:
    text = f"{key.table}/{key.day}/{key.source}"
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
