"""The only way from a door to the tenants' data: questions of SQL, and sums of costs."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from convergence.engine.service import Service
from convergence.model.cancel import CancelToken
from convergence.model.cost import CostLine, CostQuery, Dimension
from convergence.store import fleet, loads, sources, tenants
from convergence.warehouse.base import Explained, QueryLimits, Result, Scope
from convergence.warehouse.sql import cost_queries

MAX_ROWS = 10_000
BILLING_TABLE = cost_queries.BILLING_TABLE


def query(
    service: Service, tenant_id: str | None, sql: str, cancel: CancelToken | None = None
) -> Result:
    """Answer one read-only statement of BigQuery SQL. `tenant_id` None is the operator.

    Raises Invalid (refused or wrong SQL), NotFound, Cancelled (`query_timeout`), WarehouseError.
    """
    limits = QueryLimits(seconds=service.config.query_seconds, rows=MAX_ROWS)
    return service.warehouse.query(_scope(service, tenant_id), sql, limits, cancel)


def explain(service: Service, tenant_id: str | None, sql: str) -> Explained:
    """What the warehouse would run, and what of it is approximate. Raises as `query` does."""
    return service.warehouse.explain(_scope(service, tenant_id), sql)


def summary(
    service: Service,
    tenant_id: str,
    question: CostQuery,
    *,
    without: Mapping[str, Sequence[date]] | None = None,
) -> Result:
    """Rows, gross, credits and net by the question's groups and currency; exact decimals.

    `without` are days, by source, whose rows are left out. An answer is kept until the tenant's
    next load: to sum millions of rows takes too long for a page.
    """

    def ask() -> Result:
        scope = _scope(service, tenant_id)
        (dataset,) = scope.datasets
        query = cost_queries.summary(question, project=scope.project, dataset=dataset)
        if without:
            query = cost_queries.leave_out(query, without)
        limits = QueryLimits(seconds=service.config.query_seconds, rows=1_000_000)
        return service.warehouse.query(scope, query.sql("bigquery"), limits)

    # Before the question: what is published after this can only be asked again needlessly.
    with service.database.read() as tx:
        state = loads.state(tx, tenant_id)
    left_out = tuple(sorted((name, tuple(days)) for name, days in (without or {}).items()))
    return service.answers.get((tenant_id, state, question.key, left_out), ask)


def newest_export_time(service: Service, tenant_id: str) -> datetime | None:
    """How fresh the bill is: when its newest row was exported. None while there is none."""
    scope = _scope(service, tenant_id)
    (dataset,) = scope.datasets
    sql = cost_queries.newest_export_time(project=scope.project, dataset=dataset).sql("bigquery")
    limits = QueryLimits(seconds=service.config.query_seconds, rows=1)
    ((moment,),) = service.warehouse.query(scope, sql, limits).rows
    return moment if isinstance(moment, datetime) else None


def lines(service: Service, tenant_id: str, question: CostQuery) -> list[CostLine]:
    """The same as values. Groups by the day, by one other dimension, by both, or by nothing."""
    result = summary(service, tenant_id, question)
    has_day = Dimension.DAY in question.group_by
    return [_line(row, has_day=has_day) for row in result.rows]


def _line(row: tuple[Any, ...], *, has_day: bool) -> CostLine:
    """From a row of [day,] [id, [name,]] currency, rows, cost, credits, net."""
    *group, currency, count, cost, credits_, net = row
    named = group[1:] if has_day else group
    group_id = str(named[0] or "") if named else ""
    return CostLine(
        day=group[0] if has_day else None,
        group_id=group_id,
        name=str(named[-1] or "") or group_id if named else "",
        currency=currency or "",
        rows=count,
        cost=cost,
        credits=credits_,
        net=net,
    )


def _scope(service: Service, tenant_id: str | None) -> Scope:
    with service.database.read() as tx:
        if tenant_id is None:
            datasets = fleet.datasets(tx)
            return Scope(project=service.config.project, tenant_id=None, datasets=datasets)
        tenant = tenants.get(tx, tenant_id)
        return Scope(
            project=service.config.project,
            tenant_id=tenant_id,
            datasets=frozenset({tenant.dataset}),
            sources=sources.granted(tx, tenant_id),
        )
