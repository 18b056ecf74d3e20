"""Quality checks as BigQuery SQL: all checks in one query of aggregates, then failing rows.

A pattern is compared once with each value that there is, not with each row: values repeat.

Conditions of authors are read as trees, so that they can be nothing but conditions; the whole
statement passes the same gate as any other.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache

from sqlglot import exp

from convergence.errors import Invalid
from convergence.model.check import Check, CheckKind
from convergence.model.quality import MAX_SAMPLES
from convergence.warehouse.question import Parameters, Value
from convergence.warehouse.sql import fill
from convergence.warehouse.sql.statement import condition, parse

DAY, NOW = "checked_day", "checked_at"
"""Parameters: of which day rows are checked, and when."""
_Numbered = dict[int, Check]
_MONEY_KEYS = ("invoice_month", "cost_type", "currency")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """BigQuery SQL, the same for each day; what differs are the values of `@name` in it."""

    sql: str
    parameters: Parameters

    @property
    def in_full(self) -> str:
        """The statement with its values."""
        return fill.put_parameters(parse(self.sql), self.parameters).sql("bigquery")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Rows of a table of a dataset: those whose `day_column`, if one is named, is of `@DAY`, and
    whose columns `stamps` are as the parameters of their names.
    """

    project: str
    dataset: str
    table: str
    day_column: str = ""
    stamps: tuple[str, ...] = ()
    days: tuple[date, ...] = ()
    """Each of these by itself, instead of `@DAY`."""

    def select(self, *expressions: exp.Expr) -> exp.Select:
        place = exp.table_(self.table, db=self.dataset, catalog=self.project, quoted=True)
        conditions: list[exp.Expr] = [_column(name).eq(_given(name)) for name in self.stamps]
        if self.days:
            days = [fill.literal(day, exp.null()) for day in self.days]
            conditions.append(exp.In(this=self.day, expressions=days))
        elif self.day_column:
            conditions.append(self.day.eq(exp.cast(_given(DAY), exp.DType.DATE)))
        query = exp.select(*expressions).from_(place)
        return query.where(*conditions, copy=False) if conditions else query

    @property
    def day(self) -> exp.Expr:
        return exp.cast(_column(self.day_column), exp.DType.DATE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows of a place that the parameters tell."""

    place: Place
    parameters: Parameters


def measures(
    checks: Sequence[Check], rows: Rows, *, names: Mapping[str, Value], now: datetime
) -> Question:
    """One row: the number of rows, then of each check `checked_N`, `failed_N` or `actual_N`."""
    said = _said(tuple(checks), rows.place)
    return _question(said, {**rows.parameters, NOW: now}, names)


def measures_by_day(
    checks: Sequence[Check],
    rows: Rows,
    days: Sequence[date],
    *,
    names: Mapping[str, Value],
    now: datetime,
) -> Question:
    """A row of the same for each of the days that has rows, with its `day`."""
    place = replace(rows.place, days=tuple(days))
    return measures(checks, replace(rows, place=place), names=names, now=now)


def samples(
    check: Check, rows: Rows, *, names: Mapping[str, Value], now: datetime
) -> Question | None:
    """Some rows that fail; None for a check that is true or false of all rows together."""
    if check.check is CheckKind.SUM_MATCHES_SOURCE or _actual(check) is not None:
        return None
    if check.check is CheckKind.UNIQUE:
        columns = [_column(name) for name in check.read_columns]
        count = exp.alias_(exp.Count(this=exp.Star()), "row_count")
        query = rows.place.select(*columns, count).where(_are_there(columns))
        if check.where:
            query = query.where(condition(check.where))
        query = query.group_by(*columns).having("COUNT(*) > 1")
    else:
        query = rows.place.select(exp.Star()).where(_failing(check))
    said = _Said(tree=query.limit(MAX_SAMPLES))
    return _question(said, {**rows.parameters, NOW: now}, names)


def totals(rows: Rows) -> Question:
    """Rows, cost and credits by the axes along which a bill must equal its source."""
    keys = [exp.func("COALESCE", _column(name), _text("")) for name in _MONEY_KEYS]
    sums = [exp.func("SUM", _column(name)) for name in ("cost", "credits_total")]
    query = rows.place.select(*keys, exp.Count(this=exp.Star()), *sums)
    query = query.group_by(*(key.copy() for key in keys))
    return _question(_Said(tree=query), rows.parameters, {})


def is_of_all_rows(expression: str) -> bool:
    """Whether a condition speaks of all rows together. Raises Invalid for what is no condition."""
    found = condition(expression).find_all(exp.AggFunc)
    return any(aggregate.find_ancestor(exp.Query) is None for aggregate in found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """A query, and its text where that hangs on no variable."""

    tree: exp.Query
    sql: str = ""


def _question(said: _Said, parameters: Parameters, names: Mapping[str, Value]) -> Question:
    sql = said.sql or fill.fill(said.tree, names, None).sql("bigquery")
    used = {node.name for node in said.tree.find_all(exp.Parameter)}
    return Question(sql=sql, parameters={name: parameters[name] for name in sorted(used)})


@lru_cache(maxsize=128)
def _said(checks: tuple[Check, ...], place: Place) -> _Said:
    """Kept: it takes longer to write than a small day to be checked."""
    tree = _measures(checks, place)
    try:
        return _Said(tree=tree, sql=fill.fill(tree, {}, None).sql("bigquery"))
    except Invalid:
        return _Said(tree=tree)


def _measures(checks: Sequence[Check], place: Place) -> exp.Select:
    numbered = dict(enumerate(checks))
    of_values: dict[str, _Numbered] = defaultdict(dict)
    for number, check in list(numbered.items()):
        if check.check is CheckKind.REGEX and not check.where:
            of_values[check.column or ""][number] = numbered.pop(number)
    query = _by_day(place.select(*_counts(numbered)), place)
    if not of_values:
        return query
    together = exp.select("*").from_(query.subquery("of_rows", copy=False))
    for column, those in of_values.items():
        sums = _of_values(column, those, place).subquery(f"of_{column}", copy=False)
        if place.days:
            together.join(sums, using="day", copy=False)
        else:
            together.join(sums, join_type="cross", copy=False)
    return together


def _by_day(query: exp.Select, place: Place) -> exp.Select:
    """The same of each of the days, if there are any."""
    if not place.days:
        return query
    query.select(exp.alias_(place.day, "day"), copy=False)
    return query.group_by(place.day, copy=False)


def _of_values(column: str, checks: _Numbered, place: Place) -> exp.Select:
    """The rows that fail checks of one column alone, added up over its values."""
    value = _column(column)
    count = exp.alias_(exp.Count(this=exp.Star()), "rows_of_value")
    values = _by_day(place.select(value, count), place).group_by(value.copy(), copy=False)
    zero, held = exp.Literal.number(0), exp.column("rows_of_value")
    failing = {
        number: exp.Sum(this=exp.If(this=_failing(check), true=held, false=zero))
        for number, check in checks.items()
    }
    query = exp.select(
        *(
            exp.alias_(exp.func("COALESCE", sum_, zero.copy()), f"failed_{number}")
            for number, sum_ in failing.items()
        )
    ).from_(values.subquery("of_value", copy=False))
    if not place.days:
        return query
    return query.select("day", copy=False).group_by("day", copy=False)


def _counts(checks: _Numbered) -> list[exp.Expr]:
    columns: list[exp.Expr] = [exp.alias_(exp.Count(this=exp.Star()), "row_count")]
    for number, check in checks.items():
        if check.where:
            checked = exp.CountIf(this=condition(check.where))
            columns.append(exp.alias_(checked, f"checked_{number}"))
        actual = _actual(check)
        if actual is not None:
            columns.append(exp.alias_(actual, f"actual_{number}"))
        elif check.check is CheckKind.UNIQUE:
            columns.append(exp.alias_(_repeated(check), f"failed_{number}"))
        elif check.check is not CheckKind.SUM_MATCHES_SOURCE:
            failing = exp.CountIf(this=_failing(check))
            columns.append(exp.alias_(failing, f"failed_{number}"))
    return columns


def _actual(check: Check) -> exp.Expr | None:
    """The one value of all rows that decides; None where each row decides for itself."""
    match check.check:
        case CheckKind.ROW_COUNT:
            star = exp.Count(this=exp.Star())
            return exp.CountIf(this=condition(check.where)) if check.where else star
        case CheckKind.FRESHNESS:
            return exp.Max(this=exp.cast(_asked(check), exp.DType.TIMESTAMPTZ))
        case CheckKind.CURRENCY_SINGLE:
            return exp.Count(this=exp.Distinct(expressions=[_asked(check)]))
        case CheckKind.CUSTOM_SQL if is_of_all_rows(check.expression or ""):
            return condition(check.expression or "")
    return None


def _failing(check: Check) -> exp.Expr:
    """True of the rows that fail; a NULL is unknown, and fails `not_null` alone."""
    column = _column(check.column or "")
    match check.check:
        case CheckKind.NOT_NULL:
            found: exp.Expr = exp.Is(this=column, expression=exp.null())
        case CheckKind.RANGE:
            bounds = [
                *([column < _number(check.min)] if check.min is not None else []),
                *([column.copy() > _number(check.max)] if check.max is not None else []),
            ]
            found = exp.or_(*bounds)
        case CheckKind.ACCEPTED_VALUES:
            values = [_text(value) for value in check.values]
            found = exp.not_(exp.In(this=column, expressions=values))
        case CheckKind.REGEX:
            found = exp.not_(exp.RegexpLike(this=column, expression=_text(check.pattern or "")))
        case CheckKind.NO_FUTURE_DATES:
            moment = exp.cast(column, exp.DType.TIMESTAMPTZ)
            found = moment > exp.cast(_given(NOW), exp.DType.TIMESTAMPTZ)
        case _:
            found = exp.not_(exp.paren(condition(check.expression or "")))
    return exp.and_(condition(check.where), found) if check.where else found


def _repeated(check: Check) -> exp.Expr:
    """How many rows too many there are: a row without a value is not compared."""
    columns = [_column(name) for name in check.read_columns]
    key: exp.Expr = columns[0]
    if len(columns) > 1:
        struct = exp.Struct(expressions=columns)
        said = exp.func("TO_JSON_STRING", struct, dialect="bigquery")
        key = exp.If(this=_are_there(columns), true=said)
    key = _asked(check, key)
    return exp.Count(this=key) - exp.Count(this=exp.Distinct(expressions=[key.copy()]))


def _are_there(columns: Sequence[exp.Column]) -> exp.Expr:
    return exp.and_(
        *(exp.not_(exp.Is(this=each.copy(), expression=exp.null())) for each in columns)
    )


def _asked(check: Check, value: exp.Expr | None = None) -> exp.Expr:
    """A value, else the check's column, of the rows that are asked about."""
    value = value or _column(check.read_columns[0])
    if not check.where:
        return value
    return exp.If(this=condition(check.where), true=value, false=exp.null())


def _given(name: str) -> exp.Parameter:
    """What a parameter says."""
    return exp.Parameter(this=exp.var(name))


def _column(name: str) -> exp.Column:
    return exp.column(name, quoted=True)


def _text(value: str) -> exp.Expr:
    return exp.Literal.string(value)


def _number(value: Decimal | None) -> exp.Expr:
    return exp.maybe_parse(format(value or Decimal(0), "f"), dialect="bigquery")
