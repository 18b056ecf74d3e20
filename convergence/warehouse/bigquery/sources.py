"""What stands for a granted source in a statement: the rows of its tables as one relation.

A source of files has one table, for as long as the statement needs it (`uploads.py`).

A partition of an export is what a file is elsewhere: the unit in which a source changes. The
export is partitioned by the time of its arrival, so that a filter on the usage day alone would
read all of it: a bound on `_PARTITIONTIME` is added where there is that column.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from google.api_core import exceptions
from google.cloud import bigquery
from sqlglot import exp, parse_one

from convergence.errors import StepFailed
from convergence.model.cancel import CancelToken
from convergence.model.load import FileState, SourceState
from convergence.model.money import Totals
from convergence.model.source import GrantedSource, check_kind, kind_of
from convergence.model.table import Column
from convergence.warehouse.bigquery.access import Clients
from convergence.warehouse.bigquery.faults import CALL_SECONDS, RETRY, told
from convergence.warehouse.bigquery.jobs import Jobs
from convergence.warehouse.bigquery.shape import canonical, lacking
from convergence.warehouse.bigquery.types import columns_of
from convergence.warehouse.schemas import gcp_export
from convergence.warehouse.sql import fill

SLACK = timedelta(days=2)
"""A row of a usage day arrives in no partition older than the day by more than this."""
ARRIVAL = "_PARTITIONTIME"
USAGE, EXPORTED = "usage_start_time", "export_time"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
AMOUNTS_OF_CREDITS = parse_one(
    "ARRAY(SELECT c.amount FROM UNNEST(credits) AS c ORDER BY c.amount)", dialect="bigquery"
)
UNIT = "x_unit"
"""Names the partition of a row, where it is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """One table of a source. `by_arrival` says that it has `_PARTITIONTIME`; `keeps_past` that
    it can be read as of a moment.
    """

    project: str
    dataset: str
    table: str
    columns: tuple[Column, ...]
    by_arrival: bool
    keeps_past: bool
    bytes: int

    @property
    def name(self) -> str:
        return f"{self.project}.{self.dataset}.{self.table}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesRead:
    """The files of a source that may hold the rows, and what they say for themselves: the sums of
    a bill, None where no bill is made of them.
    """

    files: tuple[FileState, ...]
    totals: Totals | None = None
    state: SourceState = field(default_factory=SourceState)

    @property
    def bytes(self) -> int:
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A source as it was looked at. `moment` is the past that is read, None the present; `day`
    the usage day, None every day; `units` the partitions to read, None those that may hold it;
    `listed` all that it has; `read` is for a source of files.
    """

    source: GrantedSource
    exports: tuple[Export, ...]
    day: date | None = None
    moment: datetime | None = None
    units: frozenset[str] | None = None
    listed: tuple[FileState, ...] = ()
    read: FilesRead | None = None


def look(clients: Clients, dataset: str, source: GrantedSource, day: date | None = None) -> Sight:
    """The source's tables at this moment. Raises StepFailed for one that cannot be loaded."""
    found = exports(clients, dataset, source)
    if not found and not source.shows_nothing:
        raise StepFailed(
            f"{source.table}: there is no such table, or it may not be seen",
            code="source_missing",
            hint="is the export switched on (Billing > Billing export)? Grant the service account "
            "roles/bigquery.dataViewer on its dataset",
        )
    check_kind(source, kind_of(source, {c.name for each in found for c in each.columns}))
    for each in found:
        if missing := lacking(gcp_export().required, each.columns):
            raise StepFailed(
                f"source {source.table} cannot be read: {each.name}: it lacks the column "
                + ", ".join(missing),
                code="source_broken",
                hint="name the export table itself, or a copy of all its columns",
            )
    return Sight(source=source, exports=found, day=day)


def exports(clients: Clients, dataset: str, source: GrantedSource) -> tuple[Export, ...]:
    """The tables of a source; none where there is none, or nothing of it may be seen."""
    if source.shows_nothing:
        return ()
    client = clients.of(dataset)
    project, place, table = source.table.split(".")
    names = [table]
    with told():
        try:
            if table.endswith("*"):
                listed = client.list_tables(f"{project}.{place}", retry=RETRY, timeout=CALL_SECONDS)
                names = [item.table_id for item in listed]
                names = sorted(name for name in names if name.startswith(table[:-1]))
            tables = [
                client.get_table(f"{project}.{place}.{name}", retry=RETRY, timeout=CALL_SECONDS)
                for name in names
            ]
        except exceptions.NotFound:
            return ()
    return tuple(_export(found) for found in tables)


def _export(table: bigquery.Table) -> Export:
    partition = table.time_partitioning
    return Export(
        project=table.project,
        dataset=table.dataset_id,
        table=table.table_id,
        columns=columns_of(table.schema),
        by_arrival=partition is not None and partition.field is None and partition.type_ == "DAY",
        keeps_past=table.table_type == "TABLE",
        bytes=int(table.num_bytes or 0),
    )


def units(
    jobs: Jobs, dataset: str, sight: Sight, cancel: CancelToken | None = None
) -> tuple[tuple[FileState, ...], datetime | None]:
    """The units of a source that hold rows, by name, and the moment at which they were as told.

    What arrives while they are listed is in no unit, or makes its unit look other the next time.
    """
    found: list[FileState] = []
    moments: list[datetime] = []
    for export in sight.exports:
        query = _partitions(export) if export.by_arrival else _arrivals(export)
        config = {"use_query_cache": not export.by_arrival}
        job = jobs.query(dataset, query.sql("bigquery"), config=config, cancel=cancel)
        with told():
            rows = list(job.result(retry=RETRY, timeout=CALL_SECONDS))
        found += [
            FileState(
                path=f"{export.name}${name}",
                size=size or 0,
                mtime_ns=_nanoseconds(newest),
                ctime_ns=print_ or 0,
            )
            for name, size, newest, print_ in (row.values() for row in rows)
        ]
        if job.ended is not None:
            moments.append(job.ended)
    return tuple(sorted(found, key=lambda unit: unit.path)), min(moments, default=None)


def _partitions(export: Export) -> exp.Select:
    """Partitions with rows: bytes, and when they last changed. No row is read."""
    view = catalogue(export.project, export.dataset, "PARTITIONS")
    is_kept = exp.not_(
        exp.func("STARTS_WITH", exp.column("partition_id"), exp.Literal.string("__"))
    )
    return (
        exp.select("partition_id", "total_logical_bytes", "last_modified_time", exp.null())
        .from_(view)
        .where(exp.column("table_name").eq(exp.Literal.string(export.table)), is_kept)
        .where(exp.column("total_rows") > 0)
    )


def _arrivals(export: Export) -> exp.Select:
    """Without partitions by arrival: rows by the day they were exported; of what size is not told,
    but a number that is another when their count or an amount is: a copy may be corrected in place.
    Any amounts have such a number, those that no bill can take included.
    """
    newest = exp.Max(this=exp.column(EXPORTED, quoted=True))
    facts = exp.Struct(expressions=[exp.Count(this=exp.Star()), newest.copy(), *_hash_sums()])
    print_ = exp.Abs(this=_fingerprint(facts))
    return (
        exp.select(exp.alias_(_day_of(export), "arrival"), exp.null(), newest, print_)
        .from_(_table(export, None))
        .group_by("arrival")
    )


def _hash_sums() -> list[exp.Expr]:
    """Of the rows' amounts, in two halves: a sum of whole hashes would be no INT64."""
    row = exp.Struct(expressions=[exp.column("cost", quoted=True), AMOUNTS_OF_CREDITS.copy()])
    half = exp.convert(2**32)
    return [
        exp.Sum(this=exp.Anonymous(this=name, expressions=[_fingerprint(row), half]))
        for name in ("DIV", "MOD")
    ]


def _fingerprint(value: exp.Expr) -> exp.Expr:
    text = exp.Anonymous(this="TO_JSON_STRING", expressions=[value])
    return exp.Anonymous(this="FARM_FINGERPRINT", expressions=[text])


def catalogue(project: str, dataset: str, view: str) -> exp.Table:
    """A view of the information schema of a dataset."""
    name = exp.Dot(this=exp.to_identifier("INFORMATION_SCHEMA"), expression=exp.to_identifier(view))
    return exp.Table(
        this=name,
        db=exp.to_identifier(dataset, quoted=True),
        catalog=exp.to_identifier(project, quoted=True),
    )


def _nanoseconds(moment: datetime | None) -> int:
    if moment is None:
        return 0
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000


def relation(
    sight: Sight, columns: Sequence[Column] | None = None, *, with_unit: bool = False
) -> exp.Query:
    """The rows that the grant and the day allow, as typed columns (default: all of the export).

    `with_unit` adds `UNIT`, and keeps rows without a usage time, which belong to no day.
    """
    wanted = tuple(gcp_export().columns if columns is None else columns)
    if not sight.exports:
        empty = nothing(wanted)
        return empty.select(exp.alias_(exp.Literal.string(""), UNIT)) if with_unit else empty
    parts = [_select(sight, export, wanted, with_unit=with_unit) for export in sight.exports]
    union: exp.Query = parts[0]
    for part in parts[1:]:
        union = exp.union(union, part, distinct=False, copy=False)
    return union


def nothing(columns: Sequence[Column]) -> exp.Select:
    """The columns, and no row."""
    return exp.select(*canonical(columns, ())).limit(0)


def _select(
    sight: Sight, export: Export, wanted: tuple[Column, ...], *, with_unit: bool
) -> exp.Select:
    query = exp.select(*canonical(wanted, export.columns)).from_(_table(export, sight.moment))
    if with_unit:
        query = query.select(exp.alias_(unit_of(export), UNIT))
    conditions = [*_granted(sight.source), *_bounds(sight, export, with_timeless=with_unit)]
    return query.where(*conditions) if conditions else query


def _table(export: Export, moment: datetime | None) -> exp.Table:
    table = exp.table_(export.table, db=export.dataset, catalog=export.project, quoted=True)
    if moment is not None and export.keeps_past:
        version = exp.Version(this="TIMESTAMP", kind="AS OF", expression=_literal(moment))
        table.set("version", version)
    return table


def unit_of(export: Export) -> exp.Expr:
    """The name of a row's unit: the table, `$`, the day it arrived or was exported."""
    return exp.func("CONCAT", exp.Literal.string(f"{export.name}$"), _day_of(export))


def _day_of(export: Export) -> exp.Expr:
    moment = exp.column(ARRIVAL if export.by_arrival else EXPORTED)
    pattern = exp.Literal.string("%Y%m%d")
    text = exp.Anonymous(this="FORMAT_TIMESTAMP", expressions=[pattern, moment])
    return exp.func("COALESCE", text, exp.Literal.string("00000000"))


def _granted(source: GrantedSource) -> list[exp.Expr]:
    conditions: list[exp.Expr] = []
    if source.billing_account_ids:
        account = exp.column("billing_account_id", quoted=True)
        conditions.append(_among(account, source.billing_account_ids))
    if source.project_ids:
        project = exp.Dot(
            this=exp.column("project", quoted=True), expression=exp.to_identifier("id", quoted=True)
        )
        conditions.append(_among(project, source.project_ids))
    return conditions


def _bounds(sight: Sight, export: Export, *, with_timeless: bool) -> list[exp.Expr]:
    conditions: list[exp.Expr] = []
    if export.by_arrival and sight.units is not None:
        prefix = f"{export.name}$"
        days = sorted(u.removeprefix(prefix) for u in sight.units if u.startswith(prefix))
        moments = [_literal(datetime.strptime(d, "%Y%m%d").replace(tzinfo=UTC)) for d in days]
        conditions.append(
            exp.In(this=exp.column(ARRIVAL), expressions=moments) if moments else exp.false()
        )
    elif export.by_arrival and sight.day is not None:
        first = datetime.combine(sight.day, datetime.min.time(), UTC) - SLACK
        conditions.append(exp.GTE(this=exp.column(ARRIVAL), expression=_literal(first)))
    if sight.day is not None:
        conditions.append(_within(sight.day, with_timeless=with_timeless))
    return conditions


def _within(day: date, *, with_timeless: bool) -> exp.Expr:
    usage = exp.column(USAGE, quoted=True)
    start = datetime.combine(day, datetime.min.time(), UTC)
    within = exp.and_(
        exp.GTE(this=usage, expression=_literal(start)),
        exp.LT(this=usage.copy(), expression=_literal(start + timedelta(days=1))),
    )
    if not with_timeless:
        return within
    return exp.paren(exp.or_(within, exp.Is(this=usage.copy(), expression=exp.null())))


def _among(value: exp.Expr, ids: Sequence[str]) -> exp.Expr:
    return exp.In(this=value, expressions=[exp.Literal.string(each) for each in ids])


def _literal(moment: datetime) -> exp.Expr:
    return fill.literal(moment, exp.null())
