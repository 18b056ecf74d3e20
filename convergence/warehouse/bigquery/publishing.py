"""Make staged rows visible, in one act: a partition is replaced, or a transaction is committed.

A day of a table that is partitioned by day is one query job with the partition as its destination:
the staged rows and the day's rows of other sources take the place of the partition, at once or not
at all. What else replaces rows (other write modes, a table without such partitions, a server that
does not know them) is one transaction of statements. Either job has an id made of the load's, so
that it runs once however often it is begun, and holds its `x_meta_loads` record: in a transaction
as a row, else in its text, from which a reader that finds the job done completes the table.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Any

from google.cloud import bigquery
from google.cloud.bigquery.job import LoadJobConfig, QueryJob
from sqlglot import exp

from convergence.errors import WarehouseError
from convergence.model.money import totals_to_json
from convergence.model.table import TableSchema
from convergence.warehouse.bigquery import parts
from convergence.warehouse.bigquery.access import Clients
from convergence.warehouse.bigquery.capability import Partitions
from convergence.warehouse.bigquery.faults import CALL_SECONDS
from convergence.warehouse.bigquery.jobs import Jobs
from convergence.warehouse.bigquery.places import full, place
from convergence.warehouse.bigquery.staging import Staging
from convergence.warehouse.bigquery.tables import Tables
from convergence.warehouse.bigquery.types import field_of
from convergence.warehouse.bigquery.written import LOADS, StagedLoad, explained
from convergence.warehouse.folders import facts_without_folders
from convergence.warehouse.schemas import load_schema
from convergence.warehouse.sql import fill
from convergence.warehouse.staged import LoadRecord, StagedTotals, WriteMode

PUBLISH, RECORD = "cdp_publish_", "cdp_record_"
"""Begin the ids of the jobs that publish a load, and that write its record."""
_KEPT = re.compile(r"x_meta_loads: (\{.*\}) \*/", re.DOTALL)


class Publishing:
    """Publishes loads, and tells of one whether it was.

    No two jobs may write one day of a table at once, each copying what the other replaces: the
    caller sees to that, and settles what was left open of the day before it publishes.
    """

    def __init__(self, clients: Clients, jobs: Jobs, tables: Tables, *, staging: Staging) -> None:
        self._clients = clients
        self._jobs = jobs
        self._tables = tables
        self._staging = staging
        self._partitions = Partitions(clients, jobs, tables)

    def publish(self, staged: StagedLoad, record: LoadRecord) -> None:
        """Make the rows and their record visible."""
        if staged.is_published:
            return
        self._staging.check_open(staged)
        row = record_row(staged, _proven(staged), record)
        with explained(staged.request):
            schema = self._partitioned(staged)
            if schema is None:
                self._by_transaction(staged, row)
            else:
                self._by_partition(staged, schema, row)
        staged.is_published = True
        self._staging.discard(staged)

    def is_published(self, dataset: str, load_id: str) -> bool:
        """Whether the load took effect; if not, it will not. A job that still publishes is waited
        for.

        The job is the truth: its id is the load's. A record that a crash left out is written.
        """
        job = self._jobs.use_up(dataset, _job_id(PUBLISH, dataset, load_id))
        return self._has_effect(dataset, job)

    def is_visible(self, dataset: str, load_id: str) -> bool:
        """Whether the load has taken effect by now; its job may be on its way.

        Who is told so asks no more: here, too, a record that a crash left out is written.
        """
        job = self._jobs.done(dataset, _job_id(PUBLISH, dataset, load_id))
        return self._has_effect(dataset, job)

    def _has_effect(self, dataset: str, job: QueryJob | None) -> bool:
        """Whether there is a job that published, with its record."""
        if job is None:
            return False
        kept = _KEPT.search(job.query or "")
        if kept is not None:
            self._record(dataset, json.loads(kept[1]))
        return True

    def _partitioned(self, staged: StagedLoad) -> TableSchema | None:
        """The shape of the table, when the load is one partition of it and can replace it."""
        request = staged.request
        if request.mode is not WriteMode.REPLACE_PARTITION:
            return None
        bare = TableSchema(name=request.table, columns=staged.columns)
        live = self._tables.live(request.dataset, request.schema or bare)
        is_day = live is not None and live.partition_by == request.partition_by
        return live if is_day and self._partitions.way(request.dataset) else None

    def _by_partition(
        self, staged: StagedLoad, schema: TableSchema, row: Mapping[str, Any]
    ) -> None:
        request, load_id = staged.request, row["load_id"]
        query = _whole_day(staged)
        query.add_comments([f" x_meta_loads: {_comment(row)} "])
        way = self._partitions.way(request.dataset)
        config = self._partitions.config(
            request.dataset, request.table, request.key.day, schema, way
        )
        self._jobs.query(
            request.dataset,
            query.sql("bigquery"),
            config=config,
            job_id=_job_id(PUBLISH, request.dataset, load_id),
            is_bounded=False,
        )
        self._record(request.dataset, row)

    def _by_transaction(self, staged: StagedLoad, row: Mapping[str, Any]) -> None:
        dataset = staged.request.dataset
        loads = place(self._clients.project, dataset, LOADS)
        changes = [*_replacement(staged), _inserted(loads, row)]
        statements = [
            "BEGIN TRANSACTION",
            *(change.sql("bigquery") for change in changes),
            "COMMIT TRANSACTION",
        ]
        self._jobs.query(
            dataset,
            "".join(f"{statement};\n" for statement in statements),
            job_id=_job_id(PUBLISH, dataset, row["load_id"]),
            is_bounded=False,
        )

    def _record(self, dataset: str, row: Mapping[str, Any]) -> None:
        """Append the record, once: a load job, which costs nothing and counts as no statement."""
        client = self._clients.of(dataset)
        config = LoadJobConfig(
            schema=[field_of(column) for column in load_schema(LOADS).columns],
            write_disposition="WRITE_APPEND",
            create_disposition="CREATE_NEVER",
            source_format="NEWLINE_DELIMITED_JSON",
        )

        def begin(name: str) -> bigquery.LoadJob:
            return client.load_table_from_json(
                [dict(row)],
                full(self._clients.project, dataset, LOADS),
                job_id=name,
                job_config=config,
                timeout=CALL_SECONDS,
            )

        self._jobs.run(client, begin, job_id=_job_id(RECORD, dataset, row["load_id"]))


def record_row(staged: StagedLoad, totals: StagedTotals, record: LoadRecord) -> dict[str, Any]:
    """The row of `x_meta_loads`, as JSON has it."""
    return {
        "load_id": record.load_id,
        "run_id": record.run_id,
        "attempt": record.attempt,
        "table_name": staged.key.table,
        "load_date": staged.key.day.isoformat(),
        "x_source": staged.key.source,
        "row_count": totals.rows,
        "totals": totals_to_json(totals.loaded),
        "previous_totals": totals_to_json(totals.previous),
        "source_totals": None if totals.source is None else totals_to_json(totals.source),
        "source_state": facts_without_folders(totals.state.to_json(), staged.request.scope.sources),
        "content_hash": totals.content_hash,
        "template_hash": record.template_hash,
        "is_sample": record.is_sample,
        "loaded_at": record.loaded_at.isoformat(),
    }


def _job_id(kind: str, dataset: str, load_id: str) -> str:
    return f"{kind}{dataset}_{load_id}"


def _proven(staged: StagedLoad) -> StagedTotals:
    if staged.totals is None:
        raise WarehouseError("publish before totals: nothing is proven", code="not_proven")
    return staged.totals


def _whole_day(staged: StagedLoad) -> exp.Query:
    """The staged rows and the day's rows that they do not replace."""
    columns = [exp.column(column.name, quoted=True) for column in staged.columns]
    others = (
        exp.select(*columns)
        .from_(staged.target.copy())
        .where(parts.of_day(staged.request, staged.columns))
        .where(parts.kept(staged.request, staged.columns, staged.table))
    )
    return exp.union(exp.select(*columns).from_(staged.table.copy()), others, distinct=False)


def _replacement(staged: StagedLoad) -> Iterator[exp.Expr]:
    own = parts.replaced(staged.request, staged.columns, staged.table)
    names = [exp.to_identifier(column.name, quoted=True) for column in staged.columns]
    columns = [exp.column(column.name, quoted=True) for column in staged.columns]
    yield exp.delete(staged.target.copy(), where=own)
    rows = exp.select(*columns).from_(staged.table.copy())
    yield exp.insert(rows, staged.target.copy(), columns=names)


def _inserted(table: exp.Table, row: Mapping[str, Any]) -> exp.Expr:
    types = {column.name: column.type for column in load_schema(LOADS).columns}
    values = [_value(value, types[name]) for name, value in row.items()]
    names = [exp.to_identifier(name, quoted=True) for name in row]
    return exp.insert(exp.select(*values), table.copy(), columns=names)


def _value(value: Any, type_: str) -> exp.Expr:  # noqa: ANN401 - as JSON has it
    if type_ == "JSON":
        text = exp.null() if value is None else exp.Literal.string(json.dumps(value))
        return exp.Anonymous(this="PARSE_JSON", expressions=[text])
    if type_ == "DATE":
        return fill.literal(date.fromisoformat(value), exp.null())
    if type_ == "TIMESTAMP":
        return fill.literal(datetime.fromisoformat(value), exp.null())
    return fill.literal(value, exp.null())


def _comment(row: Mapping[str, Any]) -> str:
    """As JSON in which no comment can end."""
    return json.dumps(row).replace("*/", "*\\/").replace("/*", "\\/*")
