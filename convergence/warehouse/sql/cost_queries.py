"""Questions about costs as BigQuery SQL, built as a syntax tree: values are literals on it."""

from collections.abc import Mapping, Sequence
from datetime import date

from sqlglot import exp

from convergence.model.cost import CostQuery, Dimension

BILLING_TABLE = "billing_cost_daily"

_IDS = {
    Dimension.DAY: "ingestion_date",
    Dimension.SERVICE: "service_id",
    Dimension.SKU: "sku_id",
    Dimension.PROJECT: "project_id",
    Dimension.INVOICE_MONTH: "invoice_month",
    Dimension.COST_TYPE: "cost_type",
    Dimension.REGION: "location_region",
}
_NAMES = {
    Dimension.SERVICE: "service_description",
    Dimension.SKU: "sku_description",
    Dimension.PROJECT: "project_name",
}


def summary(
    query: CostQuery, *, table: str = BILLING_TABLE, project: str = "", dataset: str = ""
) -> exp.Select:
    """Ids and names of the groups, currency, rows, cost, credits and net: exact NUMERIC sums.

    The day is called `day`. Ordered by day where days are asked for, then by net, largest first.
    Without project and dataset the table is the caller's own.
    """
    dimensions = tuple(dict.fromkeys(query.group_by))
    keys = [_column(_IDS[dimension]) for dimension in dimensions]
    projections = [part for dimension in dimensions for part in _shown(dimension)]
    credits_sum = exp.func("COALESCE", _sum("credits_total"), exp.Literal.number(0))
    return (
        exp.select(
            *projections,
            _column("currency"),
            exp.alias_(exp.Count(this=exp.Star()), "rows", quoted=True),
            exp.alias_(_sum("cost"), "cost", quoted=True),
            exp.alias_(credits_sum, "credits", quoted=True),
            exp.alias_(_sum("cost") + credits_sum.copy(), "net", quoted=True),
        )
        .from_(_table(table, project, dataset))
        .where(*_conditions(query))
        .group_by(*keys, _column("currency"))
        .order_by(*_order(dimensions))
    )


def leave_out(query: exp.Select, days: Mapping[str, Sequence[date]]) -> exp.Select:
    """The question without the rows of these days, by source."""
    for source, of_source in days.items():
        own = _column("x_source").eq(exp.Literal.string(source))
        among = exp.In(
            this=_column(_IDS[Dimension.DAY]),
            expressions=[_day(day.isoformat()) for day in sorted(of_source)],
        )
        query = query.where(exp.not_(exp.and_(own, among)))
    return query


def newest_export_time(*, project: str, dataset: str) -> exp.Select:
    """The largest export time of all rows."""
    newest = exp.Max(this=_column("x_source_export_time"))
    return exp.select(exp.alias_(newest, "newest")).from_(_table(BILLING_TABLE, project, dataset))


def _shown(dimension: Dimension) -> list[exp.Expr]:
    column = _column(_IDS[dimension])
    if dimension is Dimension.DAY:
        return [exp.alias_(column, "day", quoted=True)]
    name = _NAMES.get(dimension)
    if name is None:
        return [column]
    return [column, exp.alias_(exp.Max(this=_column(name)), name, quoted=True)]


def _conditions(query: CostQuery) -> list[exp.Expr]:
    day = _column(_IDS[Dimension.DAY])
    within = exp.Between(
        this=day, low=_day(query.date_from.isoformat()), high=_day(query.date_to.isoformat())
    )
    asked = [(name, ids) for name, ids in query.filters.items() if ids]
    return [within, *(_is_one_of(name, ids) for name, ids in asked)]


def _is_one_of(dimension: Dimension, ids: tuple[str, ...]) -> exp.Expr:
    column = _column(_IDS[dimension])
    if dimension is Dimension.DAY:
        return exp.In(this=column, expressions=[_day(text) for text in ids])
    known = exp.In(this=column, expressions=[exp.Literal.string(text) for text in ids if text])
    missing = exp.Is(this=column.copy(), expression=exp.null())
    if "" not in ids:
        return known
    return exp.paren(exp.or_(known, missing)) if known.expressions else missing


def _order(dimensions: tuple[Dimension, ...]) -> list[exp.Expr]:
    by_day = [_column("day")] if Dimension.DAY in dimensions else []
    ids = [_column(_IDS[name]) for name in dimensions if name is not Dimension.DAY]
    return [
        *(exp.Ordered(this=column) for column in by_day),
        exp.Ordered(this=_column("net"), desc=True),
        *(exp.Ordered(this=column) for column in (*ids, _column("currency"))),
    ]


def _table(table: str, project: str, dataset: str) -> exp.Table:
    return exp.table_(table, db=dataset or None, catalog=project or None, quoted=True)


def _column(name: str) -> exp.Column:
    return exp.column(name, quoted=True)


def _sum(name: str) -> exp.Sum:
    return exp.Sum(this=_column(name))


def _day(text: str) -> exp.Expr:
    return exp.cast(exp.Literal.string(text), exp.DType.DATE)
