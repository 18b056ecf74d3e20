"""Move a tenant's tables to another warehouse, and prove that all of them came over.

Each day is copied in one act, and only where it differs: a move that was cut off goes on where it
was. The tenant is where it was until the last table is proven; what was there stays untouched.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from sqlglot import exp

from convergence.engine.at_schema import first_kept
from convergence.engine.ensure import ensure_tables
from convergence.engine.hold import settle
from convergence.engine.service import Service
from convergence.errors import Conflict, WarehouseError
from convergence.model.drift import compare
from convergence.model.table import Column, Mode, TableSchema
from convergence.model.tenant import Tenant
from convergence.outside.logs import Log
from convergence.store import fleet, loads, moves, tenants, versions
from convergence.warehouse.question import FileForm, QueryLimits, Scope
from convergence.warehouse.schemas import tenant_schemas
from convergence.warehouse.sql import fingerprint

SECONDS = 3600.0
MAX_GROUPS = 1_000_000
_PUBLISHED = "x_meta_"
_RECORDED = "x_meta_loads"
"""Tables that begin so are published again, but for this one."""
_KEYS = ("invoice_month", "cost_type", "currency", "BillingCurrency", "x_source")
_EXACT = ("NUMERIC", "BIGNUMERIC")
_AS_TEXT = frozenset({"JSON"})
"""Types that Parquet does not have."""

log = Log(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What a table holds of one day and key: rows, exact sums, and sums of the hashes of its rows,
    which differ when any value does.
    """

    day: date | None
    keys: Mapping[str, str | None]
    rows: int
    sums: Mapping[str, Decimal | None]
    hashes: tuple[Decimal, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A table that is the same in both places: of its days so many had to be copied."""

    table: str
    days: int
    copied: int
    groups: tuple[Group, ...]

    @property
    def rows(self) -> int:
        return sum(group.rows for group in self.groups)


def move(
    source: Service, target: Service, tenant_id: str, tell: Callable[[Moved], None] = lambda _: None
) -> list[Moved]:
    """Copy what differs, prove all of it, and let the tenant be where `target` is.

    The caller holds the home. `tell` hears of each table as it is proven. Raises NotFound,
    Conflict (already there, busy, not at its schema, changed meanwhile), WarehouseError.
    """
    with source.database.read() as tx:
        tenant, before = tenants.get(tx, tenant_id), versions.version(tx, tenant_id)
    _check_idle(source, target, tenant)
    target.warehouse.check()
    target.warehouse.ensure_dataset(tenant.dataset)
    ensure_tables(target, tenant.dataset)
    done = []
    for schema in _tables(source, tenant):
        done.append(_move_table(source, target, tenant, schema))
        log.info("table moved", tenant_id=tenant_id, table=schema.name, rows=done[-1].rows)
        tell(done[-1])
    with source.database.write() as tx:
        tenants.hold(tx, tenant_id)
        if versions.version(tx, tenant_id) != before or tenant_id in fleet.live_runs(tx).values():
            raise _busy(tenant_id, "was loaded meanwhile")
        moves.move(tx, tenant_id, target.config.warehouse, now=source.clock.now())
    return done


def _check_idle(source: Service, target: Service, tenant: Tenant) -> None:
    if tenant.warehouse is target.config.warehouse:
        raise Conflict(
            f"{tenant.tenant_id} is in {tenant.warehouse} already",
            code="tenant_moved",
            hint=f"work with it by CDP_WAREHOUSE={tenant.warehouse}",
        )
    with source.database.read() as tx:
        if tenant.tenant_id in fleet.live_runs(tx).values():
            raise _busy(tenant.tenant_id, "has live runs")
        left = loads.left_open(tx, tenant.tenant_id)
    for load in left:
        settle(source, tenant.dataset, load)


def _busy(tenant_id: str, why: str) -> Conflict:
    return Conflict(
        f"{tenant_id} {why}",
        code="tenant_busy",
        hint=f"cdp runs ls --tenant {tenant_id} shows them; wait or cancel, then move again: "
        "what was copied stays",
    )


def _tables(source: Service, tenant: Tenant) -> Iterator[TableSchema]:
    """All tables whose rows are in no other place. Raises Conflict for one not at its schema."""
    scope, known = _scope(source, tenant), tenant_schemas()
    sql = (
        f"SELECT table_name FROM {tenant.dataset}.INFORMATION_SCHEMA.TABLES"  # noqa: S608 - a checked name
        " WHERE table_type = 'BASE TABLE' ORDER BY 1"
    )
    for (name,) in source.warehouse.query(scope, sql, QueryLimits(seconds=SECONDS)).rows:
        is_copy = name.startswith(_PUBLISHED) and name != _RECORDED
        if is_copy or (name in known and known[name].query):
            continue
        if name not in known:
            yield _unknown(name, source.warehouse.columns(tenant.dataset, name))
            continue
        if compare(known[name], source.warehouse.live(tenant.dataset, known[name])):
            raise Conflict(
                f"{tenant.dataset}.{name} is not at its schema",
                code="schema_differs",
                hint=f"cdp db check --tenant {tenant.tenant_id}, then cdp db migrate",
            )
        yield known[name]


def _unknown(name: str, columns: tuple[Column, ...]) -> TableSchema:
    """A table that a template made."""
    day = next((c.name for c in columns if c.name == "ingestion_date" and c.type == "DATE"), None)
    return TableSchema(name=name, columns=columns, partition_by=day)


def _move_table(source: Service, target: Service, tenant: Tenant, schema: TableSchema) -> Moved:
    target.warehouse.ensure_table(tenant.dataset, schema)
    first = max(first_kept(each, tenant.dataset, schema) for each in (source, target))
    wanted = _by_day(source, tenant, schema, first)
    there = _by_day(target, tenant, schema, first)
    differing = [day for day in {**wanted, **there} if wanted.get(day) != there.get(day)]
    is_whole = schema.partition_by is None or None in {**wanted, **there}
    for day in [None] if is_whole and differing else sorted(differing, key=str):
        _copy(source, target, tenant, schema, day)
    if differing:
        there = _by_day(target, tenant, schema, first)
    _check_equal(tenant, schema, wanted, there)
    return Moved(
        table=schema.name,
        days=len(wanted),
        copied=len(differing),
        groups=tuple(group for day in wanted.values() for group in day),
    )


def _copy(
    source: Service, target: Service, tenant: Tenant, schema: TableSchema, day: date | None
) -> None:
    """One day, or all of the table where rows lack a day."""
    types = {column.type for column in schema.columns}
    form = FileForm.JSONL if types & _AS_TEXT else FileForm.PARQUET
    columns = [exp.column(column.name, quoted=True) for column in schema.columns]
    query = exp.select(*columns).from_(_table(source, tenant, schema))
    if day is not None:
        query = query.where(_day(schema).eq(exp.convert(day)))
    limits = QueryLimits(seconds=SECONDS)
    scope = _scope(source, tenant)
    with source.warehouse.export(scope, query.sql("bigquery"), form, limits) as file:
        target.warehouse.import_rows(tenant.dataset, schema, file, form, day=day)


def _by_day(
    service: Service, tenant: Tenant, schema: TableSchema, first: date
) -> dict[date | None, tuple[Group, ...]]:
    """What the table holds, told so that two tables with the same rows tell the same."""
    keys = [name for name in _KEYS if name in schema.column_names]
    exact = [c.name for c in schema.columns if c.type.startswith(_EXACT) and _is_single(c)]
    day = _day(schema) if schema.partition_by else exp.null()
    hash_ = exp.alias_(fingerprint.of_row(schema.columns), "hash_of_row")
    named = [exp.column(name, quoted=True) for name in {*keys, *exact}]
    told = exp.select(exp.alias_(day, "day_"), hash_, *named)
    query = exp.select(
        "day_",
        *(exp.alias_(exp.column(name, quoted=True), f"key_{name}") for name in keys),
        exp.Count(this=exp.Star()),
        *(exp.Sum(this=exp.column(name, quoted=True)) for name in exact),
        *(exp.Sum(this=number) for number in fingerprint.numbers(exp.column("hash_of_row"))),
    )
    told = told.from_(_table(service, tenant, schema))
    if first > date.min:
        told = told.where(exp.GTE(this=day.copy(), expression=exp.convert(first)))
    rows = told.subquery("told", copy=False)
    grouped = query.from_(rows).group_by("day_", *(f"key_{name}" for name in keys))
    limits = QueryLimits(seconds=SECONDS, rows=MAX_GROUPS)
    found = service.warehouse.query(_scope(service, tenant), grouped.sql("bigquery"), limits)
    groups = [_group(row, keys, exact) for row in found.rows]
    groups.sort(key=lambda group: (str(group.day), [str(value) for value in group.keys.values()]))
    by_day: dict[date | None, tuple[Group, ...]] = {}
    for group in groups:
        by_day[group.day] = (*by_day.get(group.day, ()), group)
    return by_day


def _group(row: Sequence[Any], keys: Sequence[str], exact: Sequence[str]) -> Group:
    day, *rest = row
    values, (rows, *rest) = rest[: len(keys)], rest[len(keys) :]
    return Group(
        day=day,
        keys=dict(zip(keys, values, strict=True)),
        rows=rows,
        sums=dict(zip(exact, rest, strict=False)),
        hashes=tuple(rest[len(exact) :]),
    )


def _check_equal(
    tenant: Tenant,
    schema: TableSchema,
    wanted: Mapping[date | None, tuple[Group, ...]],
    there: Mapping[date | None, tuple[Group, ...]],
) -> None:
    for day in {**wanted, **there}:
        if wanted.get(day) != there.get(day):
            raise WarehouseError(
                f"{tenant.dataset}.{schema.name} of {day} differs after it was copied: "
                f"{_said(wanted.get(day))} became {_said(there.get(day))}",
                code="move_differs",
                hint="nothing was switched; did something write there? Move again, or report it",
            )


def _said(groups: Sequence[Group] | None) -> str:
    rows = sum(group.rows for group in groups or ())
    sums = [
        f"{name} {sum((group.sums[name] or Decimal(0) for group in groups or ()), Decimal(0))}"
        for name in (groups[0].sums if groups else ())
    ]
    return ", ".join([f"{rows} rows", *sums])


def _is_single(column: Column) -> bool:
    return column.mode is not Mode.REPEATED and not column.fields


def _day(schema: TableSchema) -> exp.Expr:
    column = exp.column(schema.partition_by or "", quoted=True)
    types = {column.name: column.type for column in schema.columns}
    if types.get(schema.partition_by or "") == "DATE":
        return column
    return exp.func("DATE", column, dialect="bigquery")


def _table(service: Service, tenant: Tenant, schema: TableSchema) -> exp.Table:
    parts = {"db": tenant.dataset, "catalog": service.config.project}
    return exp.table_(schema.name, quoted=True, **parts)


def _scope(service: Service, tenant: Tenant) -> Scope:
    project, dataset = service.config.project, frozenset({tenant.dataset})
    return Scope(project=project, tenant_id=tenant.tenant_id, datasets=dataset)
