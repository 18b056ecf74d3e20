"""Refuse costs that would count twice: an account's rows of a day from two sources. For `load`."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import date

from convergence.engine.quality import Proven
from convergence.engine.service import Service
from convergence.errors import StepFailed
from convergence.model.cancel import CancelToken
from convergence.model.event import Level
from convergence.steps.base import StepLog
from convergence.store import loads
from convergence.warehouse.question import QueryLimits, Scope
from convergence.warehouse.sql import lineage_queries
from convergence.warehouse.sql.cost_queries import BILLING_TABLE

MAX_ROWS = 1_000_000
Account = tuple[date, str]


def check_overlaps(
    service: Service,
    tenant_id: str,
    staged: Sequence[Proven],
    *,
    is_allowed: bool,
    tell: StepLog,
    cancel: CancelToken,
) -> None:
    """Days of one source, before they are published: a standard and a detailed export of one
    account tell the same costs, and so do a table and a wildcard that covers it.

    Raises StepFailed, code counted_twice. What `is_allowed` is told in the step's log.
    """
    days = [each.request.key.day for each in staged if each.totals.rows]
    first = staged[0].request
    if first.key.table != BILLING_TABLE or not days:
        return
    with service.database.read() as tx:
        if not loads.is_shared(tx, tenant_id, first.key, days):
            return
    said = list(_overlaps(service, first.scope, staged, days, cancel))
    if said and not is_allowed:
        raise StepFailed(
            f"{first.key.source}: {'; '.join(said)}: these costs would count twice",
            code="counted_twice",
            hint="keep one of the sources: narrow the grant of the other to accounts that it alone "
            "has, or to none (cdp sources add … --account none), and let its cost_sync empty the "
            "days; allow_overlap: true in the step if each has rows that the other lacks",
        )
    for each in said:
        tell(f"{each}: if both export the same costs, they count twice", Level.WARNING)


def _overlaps(
    service: Service,
    scope: Scope,
    staged: Sequence[Proven],
    days: Sequence[date],
    cancel: CancelToken,
) -> Iterator[str]:
    """For each other source and account, in words."""
    (dataset,) = scope.datasets
    own = staged[0].request.key.source
    query = lineage_queries.accounts(BILLING_TABLE, days, project=scope.project, dataset=dataset)
    sql = query.sql("bigquery")
    limits = QueryLimits(seconds=service.config.query_seconds, rows=MAX_ROWS)
    found = service.warehouse.look(staged[0].staged, sql, cancel).rows
    mine: set[Account] = {(day, account) for day, source, account in found if source == own}
    shared: dict[tuple[str, str], list[date]] = defaultdict(list)
    there = service.warehouse.query(scope, sql, limits, cancel)
    if there.truncated:
        raise StepFailed(
            f"{own}: its days have more than {MAX_ROWS:,} accounts: whether other sources have "
            "them, too, cannot be told",
            code="result_too_large",
            hint="load fewer days at once",
        )
    for day, source, account in there.rows:
        if source != own and (day, account) in mine:
            shared[source, account].append(day)
    for (source, account), of in sorted(shared.items()):
        when = f"{min(of)}" if len(of) == 1 else f"{len(of)} days from {min(of)} on"
        yield f"account {account} has rows of {source}, too, on {when}"
