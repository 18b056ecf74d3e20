"""The only way from a door to the tenants' data: questions of SQL, and sums of costs."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any, BinaryIO

from convergence.engine.agree import check_warehouse
from convergence.engine.ensure import catch_up_central
from convergence.engine.service import Service
from convergence.errors import Invalid
from convergence.model.cancel import CancelToken
from convergence.model.cost import CostLine, CostQuery, Dimension, FileFormat, Shape
from convergence.model.money import in_dollars
from convergence.store import fleet, sources, tenants, versions
from convergence.warehouse.question import Explained, FileForm, QueryLimits, Result, Scope
from convergence.warehouse.sql import cost_lines, cost_queries, lineage_queries

MAX_ROWS = 10_000
MAX_FILE_BYTES = 2_000_000_000
BILLING_TABLE = cost_queries.BILLING_TABLE
MAX_GROUPS = 1_000_000
EXPORT_SECONDS = 900.0
MAX_CREDIT_TYPES = 50
"""So many have a column of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks: `cancel` ends a question for one who has gone; each takes a turn."""

    cancel: CancelToken | None = None
    turn: Callable[[], AbstractContextManager[None]] = nullcontext


ANYONE = Asker()


def query(
    service: Service, tenant_id: str | None, sql: str, cancel: CancelToken | None = None
) -> Result:
    """Answer one read-only statement of BigQuery SQL. `tenant_id` None is the operator.

    Raises Invalid (refused or wrong SQL), NotFound, Cancelled (`query_timeout`), WarehouseError.
    """
    limits = QueryLimits(seconds=service.config.query_seconds, rows=MAX_ROWS)
    return service.warehouse.query(_scope(service, tenant_id), sql, limits, cancel)


def export(
    service: Service,
    tenant_id: str | None,
    sql: str,
    form: str,
    cancel: CancelToken | None = None,
) -> BinaryIO:
    """The whole answer of such a statement as a file, csv or parquet, complete before it is
    read.
    """
    limits = QueryLimits(seconds=service.config.query_seconds, file_bytes=MAX_FILE_BYTES)
    scope = _scope(service, tenant_id)
    return service.warehouse.export(scope, sql, FileForm(form), limits, cancel)


def explain(service: Service, tenant_id: str | None, sql: str) -> Explained:
    """What the warehouse would run, and what of it is approximate. Raises as `query` does."""
    return service.warehouse.explain(_scope(service, tenant_id), sql)


def summary(
    service: Service,
    tenant_id: str,
    question: CostQuery,
    asker: Asker = ANYONE,
    *,
    without: Mapping[str, Sequence[date]] | None = None,
    rows: tuple[int, int] | None = None,
) -> Result:
    """Rows, gross, credits and net by the question's groups and currency; exact decimals.

    `without` are days, by source, whose rows are left out. Where each rate is a group, the
    amounts in dollars come last. An answer is kept until the tenant's data are others. Of its
    `rows` so many are given, and so many left out before.
    """

    left_out = tuple(sorted((name, tuple(days)) for name, days in (without or {}).items()))

    def ask() -> Result:
        scope = _scope(service, tenant_id)
        with asker.turn():
            types = _credit_types(service, scope, question, asker.cancel)
            sql = _grouped(scope, question, types, without=left_out, rows=rows)
            result = _asked(service, scope, sql, asker.cancel)
        return _in_dollars(result) if question.with_rates else result

    return _kept(service, tenant_id, (question.key, left_out, rows), ask)


def _kept(
    service: Service, tenant_id: str, question: Hashable, ask: Callable[[], Result]
) -> Result:
    # Before the question: what is published after this can only be asked again needlessly.
    with service.database.read() as tx:
        version = versions.version(tx, tenant_id)
    return service.answers.get((tenant_id, version, question), ask)


def proof(
    service: Service,
    tenant_id: str,
    question: CostQuery,
    asker: Asker = ANYONE,
    *,
    from_rows: bool,
) -> Result:
    """The same, asked anew each time: of the bill's rows, or of the sums kept beside them."""
    scope = _scope(service, tenant_id)
    sql = _grouped(scope, question, from_rows=from_rows)
    with asker.turn():
        return _asked(service, scope, sql, asker.cancel)


def _asked(
    service: Service,
    scope: Scope,
    sql: str,
    cancel: CancelToken | None,
    rows: int = MAX_GROUPS,
) -> Result:
    limits = QueryLimits(seconds=service.config.query_seconds, rows=rows)
    return service.warehouse.query(scope, sql, limits, cancel)


def by_load(service: Service, tenant_id: str, question: CostQuery, asker: Asker = ANYONE) -> Result:
    """Rows, cost and credits by day, source, run and currency. Raises Invalid."""
    _check_whole_rows(question)
    scope = _scope(service, tenant_id)
    (dataset,) = scope.datasets
    query = lineage_queries.by_load(question, project=scope.project, dataset=dataset)
    with asker.turn():
        return _asked(service, scope, query.sql("bigquery"), asker.cancel)


def accounts(
    service: Service, tenant_id: str, days: Sequence[date], asker: Asker = ANYONE
) -> Result:
    """Day, source and account of the bill's rows on these days, each once."""
    scope = _scope(service, tenant_id)
    (dataset,) = scope.datasets
    query = lineage_queries.accounts(BILLING_TABLE, days, project=scope.project, dataset=dataset)
    with asker.turn():
        return _asked(service, scope, query.sql("bigquery"), asker.cancel)


def export_bill(
    service: Service,
    tenant_id: str,
    question: CostQuery,
    *,
    shape: Shape,
    form: FileFormat,
    cancel: CancelToken | None = None,
) -> BinaryIO:
    """All rows of the answer as a file, open at its start; whole, or not at all.

    Raises Invalid, Cancelled (`query_timeout`, or the token's reason), WarehouseError.
    """
    if shape is not Shape.GROUPS:
        _check_whole_rows(question)
    scope = _scope(service, tenant_id)
    (dataset,) = scope.datasets
    if shape is Shape.GROUPS:
        sql = _grouped(scope, question, _credit_types(service, scope, question, cancel))
    else:
        rows_of = cost_queries.focus if shape is Shape.FOCUS else cost_queries.lines
        sql = rows_of(question, project=scope.project, dataset=dataset).sql("bigquery")
    limits = QueryLimits(seconds=EXPORT_SECONDS)
    written = FileForm.SHEET if form is FileFormat.CSV else FileForm(form)
    return service.warehouse.export(scope, sql, written, limits, cancel)


def _check_whole_rows(question: CostQuery) -> None:
    if question.is_divided_by_type:
        raise Invalid(
            "a row of the bill has all its credits",
            code="invalid_filter",
            hint="ask for the costs themselves: group_by=credit_type",
        )


def newest_export_time(service: Service, tenant_id: str, asker: Asker = ANYONE) -> datetime | None:
    """How fresh the bill is: when its newest row was exported. None while there is none."""

    def ask() -> Result:
        scope = _scope(service, tenant_id)
        (dataset,) = scope.datasets
        newest = cost_queries.newest_export_time(project=scope.project, dataset=dataset)
        with asker.turn():
            return _asked(service, scope, newest.sql("bigquery"), asker.cancel, 1)

    ((moment,),) = _kept(service, tenant_id, "newest_export_time", ask).rows
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


def _credit_types(
    service: Service, scope: Scope, question: CostQuery, cancel: CancelToken | None
) -> tuple[str | None, ...]:
    """Which types of credits there are, where each is to have a column; the last, None, stands for
    all those of less money, where there are too many.
    """
    if not question.with_credit_types or question.is_divided_by_type:
        return ()
    (dataset,) = scope.datasets
    types = cost_queries.credit_types(question, project=scope.project, dataset=dataset)
    answer = _asked(service, scope, types.sql("bigquery"), cancel, MAX_CREDIT_TYPES)
    return (*sorted(name for (name,) in answer.rows), *([None] if answer.truncated else []))


def _grouped(
    scope: Scope,
    question: CostQuery,
    credit_types: tuple[str | None, ...] = (),
    *,
    without: cost_queries.LeftOut = (),
    from_rows: bool = False,
    rows: tuple[int, int] | None = None,
) -> str:
    """The question in SQL."""
    (dataset,) = scope.datasets
    return cost_queries.summary_text(
        question,
        project=scope.project,
        dataset=dataset,
        credit_types=credit_types,
        without=without,
        from_rows=from_rows,
        rows=rows,
    )


def _in_dollars(result: Result) -> Result:
    """The same with cost, credits and net in dollars, each divided by the rate of its group, whose
    digits are those that were given.
    """
    names = [name for name, _ in result.columns]
    place_of_rate, currency = names.index(cost_lines.RATE), names.index("currency")
    amounts = [names.index(name) for name in ("cost", "credits", "net")]
    rows = []
    for row in result.rows:
        given = row[place_of_rate]
        rate = None if given is None else Decimal(repr(given))
        shown = (*row[:place_of_rate], rate, *row[place_of_rate + 1 :])
        rows.append((*shown, *(in_dollars(row[each], rate, row[currency]) for each in amounts)))
    more = tuple((f"{names[place]}_usd", "NUMERIC") for place in amounts)
    return replace(result, columns=(*result.columns, *more), rows=rows)


def _scope(service: Service, tenant_id: str | None) -> Scope:
    if tenant_id is None and not service.config.is_warehouse_shared:
        catch_up_central(service)
    with service.database.read() as tx:
        if tenant_id is None:
            datasets = fleet.datasets(tx, service.config.warehouse)
            return Scope(project=service.config.project, tenant_id=None, datasets=datasets)
        tenant = tenants.get(tx, tenant_id)
        check_warehouse(service, tenant)
        return Scope(
            project=service.config.project,
            tenant_id=tenant_id,
            datasets=frozenset({tenant.dataset}),
            sources=sources.granted(tx, tenant_id),
        )
