"""Questions about costs as BigQuery SQL, built as a syntax tree: values are literals on it.

Rows are first added up by the columns that are asked for, as they are; only then are values made of
those, of a label's JSON or of an hour in another zone: there are far fewer of them than of rows.
Where the sums that are kept beside the bill have these columns, they are added up in place of rows.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from functools import lru_cache, partial

from sqlglot import exp

from convergence.model.cost import Calendar, CostQuery
from convergence.warehouse.schemas import load_schema, views
from convergence.warehouse.sql import cost_axes, cost_lines
from convergence.warehouse.sql.cost_axes import CREDIT_TYPE, Axis, axis, column, own_name
from convergence.warehouse.sql.cost_lines import CREDITS_JSON, GIVEN_RATE, RATE, called
from convergence.warehouse.sql.statement import parse

BILLING_TABLE = "billing_cost_daily"
SUMMARY_TABLE = "billing_cost_summary"
FOCUS = "focus_gcp"
"""The view whose columns are those of FOCUS."""

LeftOut = tuple[tuple[str, tuple[date, ...]], ...]
"""Days by source."""


@lru_cache(maxsize=512)
def summary_text(  # noqa: PLR0913 - all that the text hangs on, each hashable
    query: CostQuery,
    *,
    project: str,
    dataset: str,
    credit_types: tuple[str | None, ...],
    without: LeftOut,
    from_rows: bool,
    rows: tuple[int, int] | None = None,
) -> str:
    """`summary` as text; kept, since it takes about as long to write as to answer. Of its `rows`
    so many, and so many left out before.
    """
    tree = summary(
        query,
        project=project,
        dataset=dataset,
        credit_types=credit_types,
        without=without,
        from_rows=from_rows,
    )
    if rows is not None:
        tree.limit(rows[0], copy=False).offset(rows[1], copy=False)
    return tree.sql("bigquery", copy=False)


def summary(
    query: CostQuery,
    *,
    project: str = "",
    dataset: str = "",
    credit_types: Sequence[str | None] = (),
    without: LeftOut = (),
    from_rows: bool = False,
) -> exp.Select:
    """Ids and names of the groups, currency, rows, cost, credits and net: exact NUMERIC sums.

    The day is called `day`. Ordered by the periods that are asked for, then by net, largest first.
    Without project and dataset the table is the caller's own. Each of `credit_types` has a column
    of its own, None stands for all others. `without` are days, by source, whose rows are left out.
    `from_rows`: the bill itself is added up.
    """
    axes = _axes(query)
    is_divided = query.is_divided_by_type
    place = partial(_table, project=project, dataset=dataset)
    part = _part(query, place, with_credits=bool(credit_types), from_rows=from_rows)
    part.where(*_left_out(without), copy=False)
    by_type = is_divided or bool(credit_types)
    ids = {each.value.name for each in axes if each.is_plain and not each.is_date}
    lines = (
        cost_lines.divided(part, ids, is_divided=is_divided)
        if by_type
        else cost_lines.whole(part, ids)
    )
    others = [column("currency"), *([column(RATE)] if query.with_rates else [])]
    is_whole = "TRUE" if is_divided or not by_type else f"`{CREDIT_TYPE}` IS NULL"
    return (
        exp.select(
            *_shown(axes),
            *(each.copy() for each in others),
            *cost_lines.sums(is_whole, credit_types),
        )
        .from_(lines.subquery("line", copy=False), copy=False)
        .where(*_derived(query), copy=False)
        .group_by(
            *(each.value.copy() for each in axes), *(each.copy() for each in others), copy=False
        )
        .order_by(*_order(axes, others), copy=False)
        .with_("part", as_=part, copy=False)
    )


def credit_types(query: CostQuery, *, project: str = "", dataset: str = "") -> exp.Select:
    """The types of all credits that the question is about, those of the most money first."""
    part = _part(query, partial(_table, project=project, dataset=dataset), with_credits=True)
    found = column(CREDIT_TYPE)
    size = exp.Abs(this=exp.Sum(this=column("credits")))
    return (
        exp.select(found)
        .from_(cost_lines.divided(part, set(), is_divided=True).subquery("line"))
        .where(exp.not_(exp.Is(this=found.copy(), expression=exp.null())), *_derived(query))
        .group_by(found.copy())
        .order_by(exp.Ordered(this=size, desc=True), found.copy())
        .with_("part", as_=part, copy=False)
    )


def lines(
    query: CostQuery, *, project: str, dataset: str, table: str = BILLING_TABLE
) -> exp.Select:
    """The rows that the question is about, all columns, in no order."""
    rows = exp.select("*").from_(_table(table, project, dataset))
    return rows.where(*_plain(query), *_derived(query))


def smallest(query: CostQuery, columns: Iterable[str]) -> str:
    """The table with the fewest rows that has these columns, and those that the question filters
    by.
    """
    conditions = [*_plain(query), *_derived(query)]
    filtered = {each.name for it in conditions for each in it.find_all(exp.Column)}
    is_summed = filtered.union(columns) <= set(load_schema(SUMMARY_TABLE).column_names)
    return SUMMARY_TABLE if is_summed else BILLING_TABLE


def count_of(table: str) -> exp.Expr:
    """How many rows of the bill some rows of the table stand for."""
    is_summed = table == SUMMARY_TABLE
    return exp.Sum(this=column("row_count")) if is_summed else exp.Count(this=exp.Star())


def focus(query: CostQuery, *, project: str, dataset: str) -> exp.Query:
    """The same rows in the form of FOCUS."""
    tree = parse(views()[FOCUS].query)
    rows = lines(query, project=project, dataset=dataset)
    for table in list(tree.find_all(exp.Table)):
        table.replace(rows.subquery(table.name))
    return tree


def newest_export_time(*, project: str, dataset: str) -> exp.Select:
    """The largest export time of all rows."""
    newest = exp.Max(this=column("x_source_export_time"))
    return exp.select(exp.alias_(newest, "newest")).from_(_table(SUMMARY_TABLE, project, dataset))


def _axes(query: CostQuery) -> list[Axis]:
    """Those that would have one name are numbered, as `label.a-b`, `label.a_b`, `label.A_b`."""
    found: dict[str, Axis] = {}
    for group in query.groups:
        each = axis(group, query.calendar)
        shown = own_name(each.shown, found)
        found[shown] = replace(each, shown=shown)
    return list(found.values())


def _filters(query: CostQuery) -> list[tuple[Axis, tuple[str, ...]]]:
    return [(axis(group, query.calendar), ids) for group, ids in query.filters.items() if ids]


def _part(
    query: CostQuery,
    place: Callable[[str], exp.Table],
    *,
    with_credits: bool,
    from_rows: bool = False,
) -> exp.Select:
    """Sums by the columns that the question reads."""
    axes = [*_axes(query), *(each for each, _ in _filters(query) if not each.is_plain)]
    keys = [name for each in axes for name in each.read]
    if query.calendar is Calendar.USAGE_PACIFIC and (query.first or query.last):
        keys.append(cost_axes.START)
    keys.append("currency")
    keys += [RATE, GIVEN_RATE] if query.with_rates else []
    keys += [CREDITS_JSON] if with_credits or query.is_divided_by_type else []
    names = {each.name for each in axes if each.name} - set(keys)
    keys = list(dict.fromkeys(keys))
    table = BILLING_TABLE if from_rows else smallest(query, (*keys, *names))
    return (
        exp.select(
            *map(column, keys),
            *(called(exp.Max(this=column(name)), name) for name in sorted(names)),
            called(count_of(table), "rows"),
            called(exp.Sum(this=column("cost")), "cost"),
            called(exp.Sum(this=column("credits_total")), "credits"),
        )
        .from_(place(table), copy=False)
        .where(*_plain(query), copy=False)
        .group_by(*map(column, keys), copy=False)
    )


def _shown(axes: Sequence[Axis]) -> list[exp.Expr]:
    shown: list[exp.Expr] = []
    for each in axes:
        shown.append(called(each.value.copy(), each.shown))
        if each.name:
            shown.append(called(exp.Max(this=column(each.name)), each.name))
    return shown


def _left_out(days: LeftOut) -> list[exp.Expr]:
    conditions: list[exp.Expr] = []
    for source, of_source in days:
        own = column("x_source").eq(exp.Literal.string(source))
        among = exp.In(
            this=column("ingestion_date"), expressions=[_day(day) for day in sorted(of_source)]
        )
        conditions.append(exp.not_(exp.and_(own, among)))
    return conditions


def _plain(query: CostQuery) -> list[exp.Expr]:
    """Conditions on columns as they are: what is read at all."""
    conditions = [_is_one_of(each, ids) for each, ids in _filters(query) if each.is_plain]
    if query.calendar is Calendar.INVOICE_MONTH:
        # Empty or missing, it lies in no period.
        month = exp.func("NULLIF", column("invoice_month"), exp.Literal.string(""))
        return [*_within(month, _month(query.first), _month(query.last)), *conditions]
    late = timedelta(days=1 if query.calendar is Calendar.USAGE_PACIFIC else 0)
    last = query.last and query.last + late
    return [*_within(column("ingestion_date"), _day(query.first), _day(last)), *conditions]


def _derived(query: CostQuery) -> list[exp.Expr]:
    """Conditions on what is made of columns."""
    conditions = [_is_one_of(each, ids) for each, ids in _filters(query) if not each.is_plain]
    if query.calendar is not Calendar.USAGE_PACIFIC:
        return conditions
    day = cost_axes.day(query.calendar)
    return [*_within(day, _day(query.first), _day(query.last)), *conditions]


def _within(value: exp.Expr, low: exp.Expr | None, high: exp.Expr | None) -> list[exp.Expr]:
    bounds: list[exp.Expr] = []
    if low is not None:
        bounds.append(exp.GTE(this=value.copy(), expression=low))
    if high is not None:
        bounds.append(exp.LTE(this=value.copy(), expression=high))
    return bounds


def _is_one_of(asked: Axis, ids: Sequence[str]) -> exp.Expr:
    """The empty id is what has none: NULL, or an empty text."""
    texts = [exp.Literal.string(text) for text in ids if text or not asked.is_date]
    literals = [exp.cast(text, exp.DType.DATE) if asked.is_date else text for text in texts]
    known = exp.In(this=asked.value.copy(), expressions=literals)
    missing = exp.Is(this=asked.value.copy(), expression=exp.null())
    if "" not in ids:
        return known
    return exp.paren(exp.or_(known, missing)) if literals else missing


def _order(axes: Sequence[Axis], others: Sequence[exp.Column]) -> list[exp.Expr]:
    periods = [column(each.shown) for each in axes if each.is_period]
    ids = [column(each.shown) for each in axes if not each.is_period]
    return [
        *(exp.Ordered(this=each) for each in periods),
        exp.Ordered(this=column("net"), desc=True),
        *(exp.Ordered(this=each.copy()) for each in (*ids, *others)),
    ]


def _table(table: str, project: str, dataset: str) -> exp.Table:
    return exp.table_(table, db=dataset or None, catalog=project or None, quoted=True)


def _day(day: date | None) -> exp.Expr | None:
    return exp.cast(exp.Literal.string(day.isoformat()), exp.DType.DATE) if day else None


def _month(day: date | None) -> exp.Expr | None:
    return exp.Literal.string(f"{day:%Y%m}") if day else None
