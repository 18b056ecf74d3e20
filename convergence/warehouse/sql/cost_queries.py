"""Questions about costs as BigQuery SQL, built as a syntax tree: values are literals on it.

Rows are first added up by the columns that are asked for, as they are; only then are values made of
those, of a label's JSON or of an hour in another zone: there are far fewer of them than of rows.
Where the sums that are kept beside the bill have these columns, they are added up in place of rows.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import replace
from datetime import date, timedelta
from functools import lru_cache, partial

from sqlglot import exp, parse_one

from convergence.model.cost import Calendar, CostQuery
from convergence.warehouse.schemas import load_schema, views
from convergence.warehouse.sql import cost_axes
from convergence.warehouse.sql.cost_axes import CREDIT_TYPE, Axis, axis, column
from convergence.warehouse.sql.statement import parse

BILLING_TABLE = "billing_cost_daily"
SUMMARY_TABLE = "billing_cost_summary"
FOCUS = "focus_gcp"
"""The view whose columns are those of FOCUS."""
RATE = "currency_conversion_rate"
_GIVEN_RATE = "x_currency_conversion_rate"
_RATE_AS_GIVEN = f"COALESCE(`{_GIVEN_RATE}`, CAST(`{RATE}` AS FLOAT64))"
"""Rows of earlier versions have it at nine places alone."""

LeftOut = tuple[tuple[str, tuple[date, ...]], ...]
"""Days by source."""

_CREDITS_JSON = "x_credits_json"
OTHER_TYPES = "other"
"""Stands for all types of credits that have no column of their own."""
_UNSPECIFIED = "CREDIT_TYPE_UNSPECIFIED"
"""The provider's own word for a credit without a type."""
_NOTHING = "CAST(0 AS NUMERIC)"
_CREDITS = (
    r"""SELECT 1 FROM UNNEST(REGEXP_EXTRACT_ALL(`x_credits_json`,"""
    r""" r'\{(?:[^"{}]|"(?:[^"\\]|\\.)*")*\}')) AS `credit`"""
)
"""The texts of its objects as they are: as JSON, their numbers would have a float's digits."""
_DIGITS = r"""REGEXP_EXTRACT(`credit`, r'"amount"\s*:\s*"?(-?[0-9][-+.0-9eE]*)')"""
_IS_NUMERIC = r"""REGEXP_CONTAINS(`credit`, r'"amount"\s*:\s*("|-?[0-9]+\.[0-9]{9}\s*[,}])')"""
"""DuckDB writes all nine places of a NUMERIC, BigQuery quotes one; and floats as numbers."""
_AMOUNT = (
    f"IF({_IS_NUMERIC}, CAST({_DIGITS} AS NUMERIC), CAST(CAST({_DIGITS} AS FLOAT64) AS NUMERIC))"
)
"""As it was, or, of a float, exact as the rows' money is."""
_TYPE = f"COALESCE(JSON_VALUE(`credit`, '$.type'), '{_UNSPECIFIED}')"
_IS_LIST = f"COALESCE(`{_CREDITS_JSON}`, '') LIKE '[%{{%'"


@lru_cache(maxsize=512)
def summary_text(  # noqa: PLR0913 - all that the text hangs on, each hashable
    query: CostQuery,
    *,
    project: str,
    dataset: str,
    credit_types: tuple[str, ...],
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
    credit_types: Sequence[str] = (),
    without: LeftOut = (),
    from_rows: bool = False,
) -> exp.Select:
    """Ids and names of the groups, currency, rows, cost, credits and net: exact NUMERIC sums.

    The day is called `day`. Ordered by the periods that are asked for, then by net, largest first.
    Without project and dataset the table is the caller's own. Each of `credit_types` has a column
    of its own. `without` are days, by source, whose rows are left out. `from_rows`: the bill itself
    is added up.
    """
    axes = _axes(query)
    is_divided = query.is_divided_by_type
    place = partial(_table, project=project, dataset=dataset)
    part = _part(query, place, with_credits=bool(credit_types), from_rows=from_rows)
    part.where(*_left_out(without), copy=False)
    by_type = is_divided or bool(credit_types)
    ids = {each.value.name for each in axes if each.is_plain and not each.is_date}
    lines = _lines(part, ids, is_divided=is_divided) if by_type else _whole(part, ids)
    others = [column("currency"), *([column(RATE)] if query.with_rates else [])]
    is_whole = "TRUE" if is_divided or not by_type else f"`{CREDIT_TYPE}` IS NULL"
    return (
        exp.select(*_shown(axes), *(each.copy() for each in others), *_sums(is_whole, credit_types))
        .from_(lines.subquery("line", copy=False), copy=False)
        .where(*_derived(query), copy=False)
        .group_by(
            *(each.value.copy() for each in axes), *(each.copy() for each in others), copy=False
        )
        .order_by(*_order(axes, others), copy=False)
        .with_("part", as_=part, copy=False)
    )


def credit_types(query: CostQuery, *, project: str = "", dataset: str = "") -> exp.Select:
    """The types of all credits that the question is about, in order."""
    part = _part(query, partial(_table, project=project, dataset=dataset), with_credits=True)
    found = column(CREDIT_TYPE)
    return (
        exp.select(found)
        .distinct()
        .from_(_lines(part, set(), is_divided=True).subquery("line"))
        .where(exp.not_(exp.Is(this=found.copy(), expression=exp.null())), *_derived(query))
        .order_by(found.copy())
        .with_("part", as_=part, copy=False)
    )


def credit_column(credit_type: str) -> str:
    """What the column of a type's credits is called."""
    return f"credits_{re.sub(r'[^A-Za-z0-9_]', '_', credit_type)}"


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
    """Those that would have one name are numbered, as `label.a-b` and `label.a_b`."""
    found: dict[str, Axis] = {}
    for group in dict.fromkeys(query.group_by):
        each = axis(group, query.calendar)
        same = sum(known.startswith(each.shown) for known in found)
        shown = f"{each.shown}_{same + 1}" if each.shown in found else each.shown
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
    keys += [RATE, _GIVEN_RATE] if query.with_rates else []
    keys += [_CREDITS_JSON] if with_credits or query.is_divided_by_type else []
    names = {each.name for each in axes if each.name} - set(keys)
    keys = list(dict.fromkeys(keys))
    table = BILLING_TABLE if from_rows else smallest(query, (*keys, *names))
    return (
        exp.select(
            *map(column, keys),
            *(_as(exp.Max(this=column(name)), name) for name in sorted(names)),
            _as(count_of(table), "rows"),
            _as(exp.Sum(this=column("cost")), "cost"),
            _as(exp.Sum(this=column("credits_total")), "credits"),
        )
        .from_(place(table), copy=False)
        .where(*_plain(query), copy=False)
        .group_by(*map(column, keys), copy=False)
    )


def _whole(part: exp.Select, ids: Set[str]) -> exp.Select:
    """The sums as they are, but for empty ids, which are missing ones, and rates as given."""
    return exp.select(*_folded(part.named_selects, ids)).from_(_named("part"), copy=False)


def _folded(names: Iterable[str], ids: Set[str]) -> Iterator[exp.Expr]:
    for name in names:
        if name == RATE:
            yield _as(_sql(_RATE_AS_GIVEN), RATE)
            continue
        missing = exp.func("NULLIF", column(name), exp.Literal.string(""))
        yield _as(missing, name) if name in ids else column(name)


def _lines(part: exp.Select, ids: Set[str], *, is_divided: bool) -> exp.Union:
    """Each sum as a line without a type, that has its cost, and a line for each type of credit
    that its rows have. Unless the bill is divided by them, the first has all credits, too.

    Credits that the rows do not take apart are of a type that is not known.
    """
    keys = [name for name in part.named_selects if name not in {"rows", "cost", "credits"}]

    def line(rows: str, cost: str, credits_: str, credit_type: str) -> exp.Select:
        made = {"rows": rows, "cost": cost, "credits": credits_, CREDIT_TYPE: credit_type}
        figures = (_as(_sql(said), name) for name, said in made.items())
        return exp.select(*_folded(keys, ids), *figures).from_(_named("part"))

    untyped = line(
        "`rows`", "`cost`", _NOTHING if is_divided else "`credits`", "CAST(NULL AS STRING)"
    )
    whole = line("`rows`", _NOTHING, "`credits`", f"'{_UNSPECIFIED}'")
    each = line("`rows`", _NOTHING, "`rows` * `amount`", f"`{CREDIT_TYPE}`")
    return exp.union(
        untyped,
        whole.where(_sql(f"NOT {_IS_LIST} AND `credits` <> 0")),
        each.from_(_by_type([*keys, "rows"]).subquery("by_type"), copy=False),
        distinct=False,
        copy=False,
    )


def _by_type(keys: Sequence[str]) -> exp.Select:
    """Of each sum the types of its rows' credits, each once, and what a row has of it."""
    query = exp.select(
        *map(column, keys), _as(_sql(_TYPE), CREDIT_TYPE), _as(_sql(f"SUM({_AMOUNT})"), "amount")
    )
    credits_ = _sql(_CREDITS).args["from_"].this
    query.from_(_named("part"), copy=False).join(credits_, join_type="cross", copy=False)
    query.where(_sql(f"{_IS_LIST} AND {_DIGITS} IS NOT NULL"), copy=False)
    return query.group_by(*map(column, keys), column(CREDIT_TYPE), copy=False)


def _shown(axes: Sequence[Axis]) -> list[exp.Expr]:
    shown: list[exp.Expr] = []
    for each in axes:
        shown.append(_as(each.value.copy(), each.shown))
        if each.name:
            shown.append(_as(exp.Max(this=column(each.name)), each.name))
    return shown


def _sums(is_whole: str, credit_types: Sequence[str]) -> list[exp.Expr]:
    """`rows`, `cost`, the credits of each type, `credits` and `net`; of lines that are whole rows,
    but for the types.
    """
    credits_sum = _sql(f"COALESCE(SUM(IF({is_whole}, `line`.`credits`, 0)), 0)")
    names: dict[str, str] = {}
    for each in credit_types:
        name = credit_column(each)
        same = sum(known.startswith(name) for known in names)
        names[f"{name}_{same + 1}" if name in names else name] = each
    shown = [each for each in credit_types if each != OTHER_TYPES]
    return [
        _as(exp.cast(exp.Sum(this=_sql(f"IF({is_whole}, `rows`, 0)")), exp.DType.BIGINT), "rows"),
        _as(_sql("SUM(`line`.`cost`)"), "cost"),
        *(_as(_of_type(each, shown), name) for name, each in names.items()),
        _as(credits_sum, "credits"),
        _as(_sql("SUM(`line`.`cost`)") + credits_sum.copy(), "net"),
    ]


def _of_type(wanted: str, shown: Sequence[str]) -> exp.Expr:
    """Credits of a type, or of all that have no column of their own."""
    among: exp.Expr = column(CREDIT_TYPE).eq(exp.Literal.string(wanted))
    if wanted == OTHER_TYPES:
        known = exp.In(this=column(CREDIT_TYPE), expressions=list(map(exp.Literal.string, shown)))
        among = exp.not_(known)
    chosen = exp.If(this=among, true=_sql("`line`.`credits`"), false=_sql(_NOTHING))
    return exp.func("COALESCE", exp.Sum(this=chosen), exp.Literal.number(0))


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


def _named(name: str) -> exp.Table:
    return exp.table_(name, quoted=True)


def _as(value: exp.Expr, name: str) -> exp.Expr:
    return exp.alias_(value, name, quoted=True)


def _sql(said: str) -> exp.Expr:
    return parse_one(said, dialect="bigquery")


def _day(day: date | None) -> exp.Expr | None:
    return exp.cast(exp.Literal.string(day.isoformat()), exp.DType.DATE) if day else None


def _month(day: date | None) -> exp.Expr | None:
    return exp.Literal.string(f"{day:%Y%m}") if day else None
