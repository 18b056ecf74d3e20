"""Look at a source as a load would: whether it can be read, what it is, and how far it reaches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlglot import exp

from convergence.engine.agree import check_warehouse
from convergence.engine.service import Service
from convergence.errors import CdpError, NotFound
from convergence.model.source import GrantedSource, Kind
from convergence.store import fleet, sources, tenants
from convergence.warehouse.question import QueryLimits, Scope

SECONDS = 300.0
_USAGE, _EXPORTED = "usage_start_time", "export_time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What a tenant sees of a source in one currency. `days` have rows, of those from the first
    to the last.
    """

    currency: str
    rows: int
    billing_accounts: int
    first_day: date
    last_day: date
    days: int
    oldest_export_time: datetime
    newest_export_time: datetime

    @property
    def days_without_rows(self) -> int:
        """A gap, or what the export has not filled in yet."""
        return (self.last_day - self.first_day).days + 1 - self.days


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """One grant of a source: what is seen through it, or the code of why it cannot be read."""

    tenant_id: str
    kind: Kind | None = None
    reaches: Sequence[Reach] = ()
    code: str = ""
    detail: str = ""
    hint: str = ""


def inspect(service: Service, table: str) -> list[Inspected]:
    """Every grant of the source. Reads it: where reading is billed, some columns of all of it.

    Raises NotFound for a source that nobody has added.
    """
    with service.database.read() as tx:
        source = fleet.source(tx, table)
    if source is None:
        raise NotFound(
            f"There is no source {table}", code="source_not_found", hint="cdp sources ls"
        )
    return [_grant(service, table, grant.tenant_id) for grant in source.grants]


def _grant(service: Service, table: str, tenant_id: str) -> Inspected:
    try:
        with service.database.read() as tx:
            tenant = tenants.get(tx, tenant_id)
            granted = next(each for each in sources.granted(tx, tenant_id) if each.table == table)
        check_warehouse(service, tenant)
        kind, reaches = look_at(service, tenant_id, tenant.dataset, granted)
    except CdpError as error:
        return Inspected(tenant_id=tenant_id, code=error.code, detail=error.detail, hint=error.hint)
    if not reaches:
        return Inspected(
            tenant_id=tenant_id,
            kind=kind,
            code="source_missing",
            detail=f"{table} has no rows that {tenant_id} may see",
            hint="a new export takes some hours; does the grant name the right accounts?",
        )
    return Inspected(tenant_id=tenant_id, kind=kind, reaches=reaches)


def look_at(
    service: Service, tenant_id: str, dataset: str, source: GrantedSource
) -> tuple[Kind, list[Reach]]:
    """What a source is, and how far it reaches, in each currency. Raises CdpError."""
    scope = Scope(
        project=service.config.project,
        tenant_id=tenant_id,
        datasets=frozenset({dataset}),
        sources=(source,),
    )
    return service.warehouse.source_kind(source).kind, list(_reaches(service, scope, source))


def _reaches(service: Service, scope: Scope, source: GrantedSource) -> Iterator[Reach]:
    day = exp.func("DATE", exp.column(_USAGE), dialect="bigquery")
    account = exp.column("billing_account_id")
    query = exp.select(
        exp.func("COALESCE", exp.column("currency"), exp.Literal.string("")),
        exp.Count(this=exp.Star()),
        exp.Count(this=exp.Distinct(expressions=[account])),
        exp.Min(this=day),
        exp.Max(this=day.copy()),
        exp.Count(this=exp.Distinct(expressions=[day.copy()])),
        exp.Min(this=exp.column(_EXPORTED)),
        exp.Max(this=exp.column(_EXPORTED)),
    )
    grouped = (
        query.from_(exp.to_table(source.table, dialect="bigquery")).group_by("1").order_by("1")
    )
    limits = QueryLimits(seconds=SECONDS)
    for row in service.warehouse.query(scope, grouped.sql("bigquery"), limits).rows:
        currency, rows, accounts, first, last, days, oldest, newest = row
        yield Reach(
            currency=currency,
            rows=rows,
            billing_accounts=accounts,
            first_day=first,
            last_day=last,
            days=days,
            oldest_export_time=oldest,
            newest_export_time=newest,
        )
