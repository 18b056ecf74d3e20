"""The warehouse on BigQuery: a dataset per tenant, each act a job or a call to be repeated."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from sqlglot import exp
from typing_extensions import override

from convergence.errors import Invalid, NotFound, StepFailed, WarehouseError
from convergence.model.cancel import CancelToken
from convergence.model.load import FileState
from convergence.model.source import GrantedSource, kind_of
from convergence.model.table import Column, TableSchema
from convergence.model.unit import Unit
from convergence.warehouse.base import Rows, Upsert, Warehouse
from convergence.warehouse.bigquery import looking, sources, survey, trouble
from convergence.warehouse.bigquery.access import Clients
from convergence.warehouse.bigquery.answer import answer_file
from convergence.warehouse.bigquery.events import Events
from convergence.warehouse.bigquery.faults import CALL_SECONDS, RETRY, told
from convergence.warehouse.bigquery.importing import Importing
from convergence.warehouse.bigquery.jobs import ByteLimits, Estimate, Jobs
from convergence.warehouse.bigquery.looking import Looking
from convergence.warehouse.bigquery.publishing import Publishing
from convergence.warehouse.bigquery.reading import (
    Prepared,
    answer_of,
    columns_of_result,
    prepare,
    retold,
)
from convergence.warehouse.bigquery.sources import Sight
from convergence.warehouse.bigquery.staging import Staging
from convergence.warehouse.bigquery.tables import Tables
from convergence.warehouse.bigquery.uploads import Uploads
from convergence.warehouse.bigquery.written import StagedLoad, explained
from convergence.warehouse.files.reading import files_of
from convergence.warehouse.files.source_files import SourceFiles
from convergence.warehouse.question import (
    Explained,
    FileForm,
    Parameters,
    QueryLimits,
    Read,
    Result,
    Scope,
)
from convergence.warehouse.schemas import central_schemas
from convergence.warehouse.sql import daily, names
from convergence.warehouse.sql.names import Resolved
from convergence.warehouse.sql.statement import parse, pointing
from convergence.warehouse.staged import LoadRecord, Staged, StagedTotals, StageRequest

OPERATOR = names.CENTRAL_DATASET
BROUGHT = (
    "the bytes are those of the files: what their rows take in BigQuery, which is billed, is known "
    "when they are there, and often a few times as much"
)


class BigqueryWarehouse(Warehouse):
    """`now` is the time of what is published; no job is billed for more than `limits` allow.
    `memory_limit` and `threads` are for reading files.
    """

    loads_together: ClassVar[bool] = False

    def __init__(
        self,
        clients: Clients,
        *,
        now: Callable[[], datetime],
        limits: ByteLimits = lambda _: (),
        job_seconds: float = 3600.0,
        memory_limit: str = "1GB",
        threads: int = 2,
    ) -> None:
        self._clients = clients
        self._jobs = Jobs(self._clients, limits=limits, job_seconds=job_seconds)
        self._tables = Tables(self._clients, self._jobs)
        self._files = SourceFiles(memory_limit=memory_limit, threads=threads)
        self._looking = Looking(
            self._clients,
            self._jobs,
            files=self._files,
            uploads=Uploads(self._clients, self._jobs, self._tables),
        )
        self._staging = Staging(
            self._clients, self._jobs, self._tables, looking=self._looking, now=now
        )
        self._publishing = Publishing(
            self._clients,
            self._jobs,
            self._tables,
            staging=self._staging,
        )
        self._importing = Importing(self._clients, self._jobs)
        self._events = Events(self._clients)
        self._now = now

    @override
    def check(self) -> None:
        self._jobs.estimate("", "SELECT 1")
        self._tables.check_location(OPERATOR)

    @override
    def check_new_datasets(self) -> str:
        self.check()
        with told():
            return self._clients.check_granted("bigquery.datasets.create")

    @override
    def ensure_dataset(self, dataset: str) -> bool:
        is_new = self._tables.ensure_dataset(dataset)
        for schema in central_schemas().values():
            self._tables.ensure(dataset, schema)
        return is_new

    @override
    def drop_dataset(self, dataset: str) -> None:
        self._tables.drop_dataset(dataset)

    @override
    def copy_dataset(self, dataset: str, path: Path) -> None:
        raise WarehouseError(
            f"{dataset} is in BigQuery: it is no file that can be copied",
            code="dataset_not_a_file",
            hint="BigQuery keeps seven days of each table; a snapshot or an export keeps more",
        )

    @override
    def ensure_table(self, dataset: str, schema: TableSchema) -> bool:
        return self._tables.ensure(dataset, schema)

    @override
    def live(self, dataset: str, schema: TableSchema) -> TableSchema | None:
        return self._tables.live(dataset, schema)

    @override
    def evolve(
        self, dataset: str, schema: TableSchema, *, approved: bool = False, is_plan: bool = False
    ) -> Sequence[str]:
        return self._tables.evolve(dataset, schema, approved=approved, is_plan=is_plan)

    @override
    def columns(self, dataset: str, table: str) -> tuple[Column, ...]:
        return self._tables.columns(dataset, table)

    @override
    def stage(self, request: StageRequest, cancel: CancelToken) -> Staged:
        return self._staging.stage(request, cancel)

    @override
    def stage_together(
        self, requests: Sequence[StageRequest], cancel: CancelToken
    ) -> Sequence[Staged]:
        raise daily.not_together(requests[0], "a job publishes one day")

    @override
    def totals(self, staged: Staged, cancel: CancelToken) -> StagedTotals:
        return self._staging.totals(_own(staged), cancel)

    @override
    def look(
        self,
        staged: Staged,
        sql: str,
        cancel: CancelToken,
        parameters: Parameters | None = None,
    ) -> Result:
        return self._staging.look(_own(staged), sql, cancel, parameters or {})

    @override
    def publish(self, staged: Staged, record: LoadRecord) -> None:
        self._publishing.publish(_own(staged), record)

    @override
    def discard(self, staged: Staged) -> None:
        self._staging.discard(_own(staged))

    @override
    def is_published(self, dataset: str, load_id: str) -> bool:
        return self._publishing.is_published(dataset, load_id)

    @override
    def is_visible(self, dataset: str, load_id: str) -> bool:
        return self._publishing.is_visible(dataset, load_id)

    @override
    def query(
        self, scope: Scope, sql: str, limits: QueryLimits, cancel: CancelToken | None = None
    ) -> Result:
        with pointing(sql):
            resolved = names.read(sql, scope, most=limits.rows + 1)
            if looking.is_of_files(resolved):
                return self._files.query(resolved, scope, limits, cancel)
            with self._asked(resolved, scope) as (dataset, prepared):
                job = self._jobs.query(dataset, prepared.sql, cancel=cancel, seconds=limits.seconds)
                columns, rows = answer_of(job, limits)
        return Result(
            columns=columns,
            rows=rows[: limits.rows],
            truncated=len(rows) > limits.rows,
            sql=prepared.sql,
        )

    @override
    def explain(self, scope: Scope, sql: str) -> Explained:
        with pointing(sql):
            resolved = names.read(sql, scope)
            if looking.is_of_files(resolved):
                return self._files.explain(resolved, scope, parse(sql))
            with self._asked(resolved, scope) as (dataset, prepared):
                estimate = self._jobs.estimate(dataset, prepared.sql)
        statement = parse(sql).sql("bigquery", pretty=True)
        return _explained(statement, prepared.sql, prepared.sights, estimate)

    @override
    def explain_load(self, request: StageRequest) -> Explained:
        with explained(request):
            plan = self._staging.plan(request)
            brought = sum(sight.read.bytes for sight in plan.sights if sight.read)
            estimate = replace(plan.estimate, bytes=plan.estimate.bytes + brought)
            self._jobs.check_bytes(request.dataset, estimate)
        found = _explained(plan.statement, plan.query.sql("bigquery"), plan.sights, estimate)
        return replace(found, notes=(BROUGHT,)) if brought else found

    @override
    def export(
        self,
        scope: Scope,
        sql: str,
        form: FileForm,
        limits: QueryLimits,
        cancel: CancelToken | None = None,
    ) -> BinaryIO:
        with pointing(sql):
            resolved = names.read(sql, scope)
            if looking.is_of_files(resolved):
                return self._files.export(resolved, scope, form, limits, cancel)
            with self._asked(resolved, scope) as (dataset, prepared):
                job = self._jobs.query(dataset, prepared.sql, cancel=cancel, seconds=limits.seconds)
                storage = self._clients.storage(dataset)
                return answer_file(job, form, storage, most=limits.file_bytes, cancel=cancel)

    @override
    def import_rows(
        self,
        dataset: str,
        schema: TableSchema,
        file: BinaryIO,
        form: FileForm,
        *,
        day: date | None = None,
    ) -> None:
        self._importing.replace_rows(dataset, schema, file, form, day)

    @override
    def upsert(
        self,
        dataset: str,
        schema: TableSchema,
        key: tuple[str, ...],
        rows: Rows,
    ) -> None:
        self._events.append(dataset, Upsert(schema=schema, key=key, rows=rows), self._now())

    @override
    def upsert_all(self, dataset: str, upserts: Sequence[Upsert], *, seen_at: datetime) -> None:
        for each in upserts:
            self._events.append(dataset, each, seen_at)

    @override
    def files_of(self, source: GrantedSource) -> tuple[FileState, ...]:
        if source.files is not None:
            return files_of(source)
        found = sources.exports(self._clients, "", source)
        return sources.units(self._jobs, "", Sight(source=source, exports=found))[0]

    @override
    def survey(
        self,
        dataset: str,
        source: GrantedSource,
        files: Sequence[FileState],
        known: Mapping[str, Unit],
        cancel: CancelToken,
    ) -> tuple[Unit, ...]:
        if source.files is not None:
            return self._files.survey(source, files, known, cancel)
        same = survey.same(files, known)
        other = [file for file in files if file.path not in same]
        if not other:
            return tuple(same.values())
        sight = sources.look(self._clients, dataset, source)
        sight = replace(sight, units=frozenset(file.path for file in other))
        ask = partial(self._rows, dataset, cancel)
        return (*same.values(), *survey.units_of(ask, sight, other))

    @override
    def rows_of_day(
        self, dataset: str, source: GrantedSource, path: str, day: date, cancel: CancelToken
    ) -> str:
        if source.files is not None:
            return self._files.rows_of_day(source, path, day, cancel)
        sight = sources.look(self._clients, dataset, source, day)
        sight = replace(sight, units=frozenset({path}))
        return trouble.rows_of(
            partial(self._rows, dataset, cancel), sight, f"{path}: usage of {day}"
        )

    def _rows(self, dataset: str, cancel: CancelToken, query: exp.Query) -> Sequence[Sequence[Any]]:
        job = self._jobs.query(dataset, query.sql("bigquery"), cancel=cancel)
        with told():
            return [row.values() for row in job.result(retry=RETRY, timeout=CALL_SECONDS)]

    @override
    def storage_bytes(self, dataset: str) -> int:
        view = sources.catalogue(self._clients.project, dataset, "PARTITIONS")
        query = exp.select(exp.Sum(this=exp.column("total_logical_bytes"))).from_(view)
        job = self._jobs.query(dataset, query.sql("bigquery"), is_bounded=False)
        with told():
            return sum(row[0] or 0 for row in job.result(retry=RETRY, timeout=CALL_SECONDS))

    @override
    def source_kind(self, source: GrantedSource) -> GrantedSource:
        if source.files is not None:
            return self._files.kind(source)
        found = sources.exports(self._clients, "", source)
        return replace(
            source, kind=kind_of(source, {c.name for each in found for c in each.columns})
        )

    @override
    def close(self) -> None:
        self._clients.close()

    @contextmanager
    def _asked(self, resolved: Resolved, scope: Scope) -> Iterator[tuple[str, Prepared]]:
        """The statement as BigQuery runs it, and its dataset; errors are told of what was sent."""
        dataset = names.dataset_of(resolved, scope)
        try:
            yield dataset, prepare(dataset, resolved, partial(self._looking.for_plan, dataset))
        except StepFailed as failed:
            raise Invalid(failed.detail, code=failed.code, hint=failed.hint) from failed
        except (Invalid, NotFound) as error:
            raise retold(error, resolved) from error


def _explained(statement: str, sql: str, sights: Sequence[Sight], estimate: Estimate) -> Explained:
    reads = [_read(sight) for sight in sights]
    if len(reads) == 1:
        reads = [replace(reads[0], bytes=estimate.bytes)]
    return Explained(
        statement=statement,
        sql=sql,
        notes=(),
        columns=columns_of_result(estimate.fields),
        reads=tuple(reads),
        bytes=estimate.bytes,
    )


def _read(sight: Sight) -> Read:
    """Of files those that may hold the rows; of an export its tables."""
    if (read := sight.read) is not None:
        return Read(
            source=sight.source.table,
            files=len(read.files),
            bytes=read.bytes,
            matched=len(sight.listed),
        )
    return Read(
        source=sight.source.table,
        files=len(sight.exports),
        bytes=sum(export.bytes for export in sight.exports),
        matched=len(sight.exports),
    )


def _own(staged: Staged) -> StagedLoad:
    if not isinstance(staged, StagedLoad):
        raise TypeError(f"{type(staged).__name__} was not staged by this warehouse")
    return staged
