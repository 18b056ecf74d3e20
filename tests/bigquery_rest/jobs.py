"""Jobs: asked for once by their id, run, held, cancelled, asked about."""

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import duckdb
from sqlglot import exp

from convergence.model.table import Column
from tests.bigquery_rest import ddl, writes
from tests.bigquery_rest.catalog import Catalog
from tests.bigquery_rest.faults import ApiError, Fault, invalid, not_found
from tests.bigquery_rest.statements import Prepared, Reader, bad_query, parse
from tests.bigquery_rest.tables import Name, Table, now_ms
from tests.bigquery_rest.wire import Json, schema
from tests.bigquery_rest.writes import Rows, Target

MEBIBYTE = 1 << 20
LEAST_BILLED = 10 * MEBIBYTE
SHORT_SECONDS = 0.5
"""A job that is done so soon is told as done by the answer that it was begun."""


@dataclass(kw_only=True)
class Job:
    project: str
    id: str
    location: str
    configuration: Json
    created: int = field(default_factory=now_ms)
    ended: int | None = None
    error: ApiError | None = None
    rows: Rows | None = None
    facts: Json = field(default_factory=dict)
    """Of `statistics`, beside its times; `query` in it is the part about the query."""
    interrupt: Callable[[], None] = lambda: None
    is_pending: bool = False

    @property
    def columns(self) -> tuple[Column, ...]:
        return self.rows.columns if self.rows is not None else ()

    @property
    def reference(self) -> Json:
        return {"projectId": self.project, "jobId": self.id, "location": self.location}

    def fail(self, error: ApiError) -> None:
        self.error, self.ended = error, now_ms()

    @property
    def resource(self) -> Json:
        state = "PENDING" if self.is_pending else "RUNNING"
        status: Json = {"state": state if self.ended is None else "DONE"}
        if self.error is not None:
            status |= {"errorResult": self.error.proto(), "errors": [self.error.proto()]}
        times = {"creationTime": str(self.created), "startTime": str(self.created)}
        if self.ended is not None:
            times["endTime"] = str(self.ended)
        return {
            "kind": "bigquery#job",
            "id": f"{self.project}:{self.location}.{self.id}",
            "jobReference": self.reference,
            "configuration": self.configuration,
            "status": status,
            "statistics": {**times, **self.facts},
            "user_email": "tester@example.com",
        }


class Jobs:
    """`hold` lets jobs run only when `release` says so; `fail` lets them fail."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._jobs: dict[tuple[str, str], Job] = {}
        self._held: list[tuple[Job, Callable[[], None]]] = []
        self._to_hold = 0
        self._hold_ids = ""
        self._to_fail: list[tuple[str, Fault]] = []
        self._changed = threading.Condition(catalog.lock)
        self._numbers = itertools.count(1)

    def hold(self, times: int = 1, ids: str = "") -> None:
        """The next so many jobs whose ids begin with `ids`."""
        self._to_hold, self._hold_ids = times, ids

    def fail(self, fault: Fault, *, times: int = 1, ids: str = "") -> None:
        """The next so many jobs whose ids begin with `ids`: they do nothing, and say why."""
        with self._changed:
            self._to_fail += [(ids, fault)] * times

    @property
    def held(self) -> list[str]:
        """The ids of the jobs that wait to be let."""
        with self._changed:
            return [job.id for job, _ in self._held]

    def wait_held(self) -> None:
        """Until a job waits to be let."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._held, 60), "no job came"

    def release(self) -> None:
        with self._changed:
            self._to_hold = 0
            held, self._held = self._held, []
            for job, work in held:
                self._begin(job, work)

    def insert(self, project: str, body: Json, content: bytes = b"") -> Job:
        """Raises ApiError: 409 for a known id, 400 for a query that cannot be read."""
        reference = body.get("jobReference") or {}
        id_ = reference.get("jobId") or f"job_{next(self._numbers)}"
        configuration: Json = body["configuration"]
        with self._changed:
            if (project, id_) in self._jobs:
                raise ApiError(409, "duplicate", f"Already Exists: Job {project}:{id_}")
            location = reference.get("location") or ""
            job = Job(project=project, id=id_, location=location, configuration=configuration)
            work = self._prepare(job, content)
            job.location = job.location or "US"
            if configuration.get("dryRun"):
                job.ended = now_ms()
                return job
            self._jobs[project, id_] = job
            if self._to_hold and id_.startswith(self._hold_ids):
                self._to_hold -= 1
                job.is_pending = True
                self._held.append((job, work))
                self._changed.notify_all()
            else:
                self._begin(job, work)
                self._changed.wait_for(lambda: job.ended is not None, SHORT_SECONDS)
        return job

    def _begin(self, job: Job, work: Callable[[], None]) -> None:
        job.is_pending = False
        threading.Thread(target=self._run, args=(job, work), daemon=True).start()

    def _run(self, job: Job, work: Callable[[], None]) -> None:
        error: ApiError | None = None
        try:
            if job.ended is None:
                self._meet_failure(job)
                work()
        except ApiError as refused:
            error = refused
        except duckdb.Error as broken:
            error = bad_query(broken)
        with self._changed:
            if job.ended is None:
                job.error, job.ended = error, now_ms()
            self._changed.notify_all()

    def _meet_failure(self, job: Job) -> None:
        with self._changed:
            due = next((each for each in self._to_fail if job.id.startswith(each[0])), None)
            if due is not None:
                self._to_fail.remove(due)
                raise due[1].error

    def all(self, project: str) -> list[Job]:
        return [job for (owner, _), job in reversed(self._jobs.items()) if owner == project]

    def known(self, project: str, id_: str) -> bool:
        return (project, id_) in self._jobs

    def get(self, project: str, id_: str, location: str = "") -> Job:
        job = self._jobs.get((project, id_))
        if job is None or location not in {"", job.location}:
            raise not_found(f"Job {project}:{id_}")
        limit = int(job.configuration.get("jobTimeoutMs") or 0)
        if job.ended is None and limit and now_ms() - job.created > limit:
            job.fail(ApiError(400, "timeout", f"Job timed out after {limit} ms"))
        return job

    def wait(self, job: Job, milliseconds: int) -> None:
        """Until the job ends, as far as a request may wait."""
        with self._changed:
            self._changed.wait_for(lambda: job.ended is not None, min(milliseconds, 1000) / 1000)

    def cancel(self, job: Job) -> None:
        with self._changed:
            if job.ended is None:
                words = "Job execution was cancelled: User requested cancellation"
                job.fail(ApiError(400, "stopped", words))
                job.interrupt()
            self._changed.notify_all()

    def forget(self, project: str, id_: str) -> None:
        """As if it had never been, for a job that is lost."""
        del self._jobs[project, id_]

    # What a job does

    def _prepare(self, job: Job, content: bytes) -> Callable[[], None]:
        configuration = job.configuration
        if "query" in configuration:
            return self._prepare_query(job, configuration["query"])
        kind = "load" if "load" in configuration else "copy"
        settings = configuration[kind]
        target = Target.of(settings["destinationTable"])
        self._locate(job, [target.name])
        if kind == "load":
            return lambda: self._load(job, target, settings, content)
        sources = settings.get("sourceTables") or [settings["sourceTable"]]
        return lambda: self._copy(job, target, [Target.of(source) for source in sources], settings)

    def _locate(self, job: Job, names: list[Name]) -> None:
        for name in names:
            found = self._catalog.dataset(name.project, name.dataset).location
            job.location = job.location or found
            if job.location != found:
                dataset = f"Dataset {name.project}:{name.dataset}"
                raise not_found(f"{dataset} was not found in location {job.location}")

    def _prepare_query(self, job: Job, settings: Json) -> Callable[[], None]:
        if not str(settings.get("maximumBytesBilled") or 0).isdecimal():
            raise invalid("Invalid value for maximum_bytes_billed")
        trees = parse(settings["query"], settings.get("queryParameters") or ())
        dataset = (settings.get("defaultDataset") or {}).get("datasetId")
        reader = Reader(catalog=self._catalog, project=job.project, default_dataset=dataset)
        job.facts["query"] = {"statementType": _statement_type(trees)}
        if len(trees) != 1:
            return lambda: self._script(job, reader, trees)
        (tree,) = trees
        if ddl.is_ddl(tree):
            return lambda: self._define(reader, tree)
        prepared = reader.prepare(tree)
        names = [table.name for table in prepared.tables]
        if "destinationTable" in settings:
            names.append(Target.of(settings["destinationTable"]).name)
        self._locate(job, names)
        _measure(job, prepared)
        return lambda: self._query(job, prepared, settings)

    def _define(self, reader: Reader, tree: exp.Expr) -> None:
        with self._catalog.lock:
            ddl.run(reader, tree)

    def _script(self, job: Job, reader: Reader, trees: list[exp.Expr]) -> None:
        with self._catalog.lock, self._catalog.transaction():
            for tree in trees:
                if ddl.is_ddl(tree):
                    ddl.run(reader, tree)
                elif isinstance(tree, exp.Query):
                    prepared = reader.prepare(tree)
                    self._keep(job, prepared, self._catalog.connection)
                elif not isinstance(tree, exp.Transaction | exp.Commit):
                    self._change(job, reader.prepare(tree))

    def _query(self, job: Job, prepared: Prepared, settings: Json) -> None:
        limit = int(settings.get("maximumBytesBilled") or 0)
        billed = int(job.facts["query"].get("totalBytesBilled", 0))
        if limit and billed > limit:
            words = f"Query exceeded limit for bytes billed: {limit}. {billed} or higher required."
            raise ApiError(400, "bytesBilledLimitExceeded", words)
        if not isinstance(prepared.tree, exp.Query):
            self._change(job, prepared)
            return
        with self._catalog.connection.cursor() as cursor:
            job.interrupt = cursor.interrupt
            rows = self._keep(job, prepared, cursor)
        if "destinationTable" in settings:
            target = Target.of(settings["destinationTable"])
            with self._catalog.lock:
                writes.write(self._catalog, target, rows, settings, default="WRITE_EMPTY")

    def _keep(self, job: Job, prepared: Prepared, cursor: duckdb.DuckDBPyConnection) -> Rows:
        """Nobody waits for the lock meanwhile: it may take long, and be cancelled."""
        name = self._catalog.new_name()
        cursor.execute(f"CREATE TABLE {name} AS {prepared.sql}")
        job.rows = Rows(name=name, columns=prepared.columns, is_query=True)
        return job.rows

    def _change(self, job: Job, prepared: Prepared) -> None:
        table = _target(prepared)
        if table.is_streamed and not isinstance(prepared.tree, exp.Insert):
            words = "would affect rows in the streaming buffer, which is not supported"
            raise invalid(f"UPDATE or DELETE statement over table {table.name} {words}")
        with self._catalog.lock, self._catalog.changing(table):
            row = self._catalog.execute(prepared.sql).fetchone()
            if table.has_pseudo_columns:
                now = "date_trunc('day', now())"
                missing = '"_PARTITIONTIME" IS NULL'
                self._catalog.execute(
                    f'UPDATE {table.name.duckdb} SET "_PARTITIONTIME" = {now} WHERE {missing}'  # noqa: S608 - ours
                )
        job.facts["query"]["numDmlAffectedRows"] = str(row[0] if row else 0)

    def _load(self, job: Job, target: Target, settings: Json, content: bytes) -> None:
        with self._catalog.lock:
            rows = writes.of_file(self._catalog, content, settings)
            writes.write(self._catalog, target, rows, settings, default="WRITE_APPEND")
            count = self._catalog.count(rows.name)
        job.facts["load"] = {
            "outputRows": str(count),
            "inputFiles": "1",
            "inputFileBytes": str(len(content)),
            "outputBytes": str(len(content)),
        }

    def _copy(self, job: Job, target: Target, sources: list[Target], settings: Json) -> None:
        with self._catalog.lock:
            rows = writes.of_tables(self._catalog, sources)
            source = self._catalog.table(sources[0].name)
            shape = {"timePartitioning": source.partitioning} if source.partitioning else {}
            writes.write(self._catalog, target, rows, shape | settings, default="WRITE_EMPTY")
        job.facts["copy"] = {"copiedRows": "0"}


def _measure(job: Job, prepared: Prepared) -> None:
    billed = -(-prepared.scanned // MEBIBYTE) * MEBIBYTE
    billed = max(billed, LEAST_BILLED) if prepared.scanned else 0
    job.facts |= {"totalBytesProcessed": str(prepared.scanned), "totalSlotMs": "7"}
    job.facts["query"] |= {
        "totalBytesProcessed": str(prepared.scanned),
        "totalBytesBilled": str(billed),
        "totalSlotMs": "7",
        "cacheHit": False,
        "schema": schema(prepared.columns),
        "referencedTables": [table.name.reference for table in prepared.tables],
    }


def _target(prepared: Prepared) -> Table:
    """The table that a statement changes: it is named first."""
    if not prepared.tables:
        raise invalid("the statement changes no table", "invalidQuery")
    return prepared.tables[0]


def _statement_type(trees: list[exp.Expr]) -> str:
    if len(trees) != 1:
        return "SCRIPT"
    (tree,) = trees
    if isinstance(tree, exp.Query):
        return "SELECT"
    if isinstance(tree, exp.Create | exp.Drop):
        what = f"{tree.key.upper()}_{tree.args['kind']}"
        return f"{what}_AS_SELECT" if tree.args.get("expression") and "TABLE" in what else what
    return {"truncatetable": "TRUNCATE_TABLE", "alter": "ALTER_TABLE"}.get(
        tree.key, tree.key.upper()
    )
