"""Tell of costs that count twice: an account's rows of one day from two sources. For `load`."""

from collections.abc import Sequence
from datetime import date

from convergence.engine.service import Service
from convergence.errors import Cancelled, Invalid, WarehouseError
from convergence.model.event import Level
from convergence.model.load import Load
from convergence.outside.logs import Log
from convergence.steps.base import StepLog
from convergence.store import loads
from convergence.warehouse.base import QueryLimits, Scope
from convergence.warehouse.sql import lineage_queries
from convergence.warehouse.sql.cost_queries import BILLING_TABLE

MAX_ROWS = 100_000

log = Log(__name__)


def tell_of_overlaps(service: Service, scope: Scope, done: Sequence[Load], tell: StepLog) -> None:
    """After days of one source were published. A standard and a detailed export of one account
    tell the same costs, and so do a table and a wildcard that covers it.
    """
    first = done[0]
    days = [load.key.day for load in done if load.rows]
    if first.key.table != BILLING_TABLE or not days:
        return
    with service.database.read() as tx:
        if not loads.is_shared(tx, first.tenant_id, first.key, days):
            return
    for source, account, on in _overlaps(service, scope, first.key.source, days):
        tell(
            f"account {account} has rows of {source}, too, on {on}: do both export the same "
            "costs? They count twice; keep one of the sources, or narrow their grants",
            Level.WARNING,
            account=account,
            source=source,
        )


def _overlaps(
    service: Service, scope: Scope, own: str, days: Sequence[date]
) -> list[tuple[str, str, str]]:
    """The other source, the account, and the days as text."""
    (dataset,) = scope.datasets
    query = lineage_queries.accounts(BILLING_TABLE, days, project=scope.project, dataset=dataset)
    limits = QueryLimits(seconds=service.config.query_seconds, rows=MAX_ROWS)
    try:
        rows = service.warehouse.query(scope, query.sql("bigquery"), limits).rows
    except (Cancelled, Invalid, WarehouseError) as error:
        log.warning("sources not compared", source=own, error=error.detail)
        return []
    mine = {(day, account) for day, source, account in rows if source == own}
    shared: dict[tuple[str, str], list[date]] = {}
    for day, source, account in rows:
        if source != own and (day, account) in mine:
            shared.setdefault((source, account), []).append(day)
    return [
        (source, account, f"{min(of)}" if len(of) == 1 else f"{len(of)} days from {min(of)} on")
        for (source, account), of in sorted(shared.items())
    ]
