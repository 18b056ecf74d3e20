"""The sums that prove a load: of rows in tables, and of a source, each by its own query."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from sqlglot import exp, parse_one

from convergence.errors import StepFailed
from convergence.model.load import FileState, SourceState
from convergence.model.money import MoneyKey, Total, Totals, row_count
from convergence.model.table import Column, Mode
from convergence.warehouse.bigquery.sources import EXPORTED, UNIT, USAGE, Sight, relation
from convergence.warehouse.held import NOT_BUSINESS, content_hash, total
from convergence.warehouse.schemas import gcp_export, totals_columns

_HALF = 2**32
"""A hash is added up in two halves: a sum of whole ones would be no INT64."""
CREDITS_OF_ROW = parse_one("(SELECT SUM(c.amount) FROM UNNEST(credits) AS c)", dialect="bigquery")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSums:
    """Totals of some rows of a table, and a hash of them that no order changes.

    `strays` rows fall on another day; `nulls` are the required columns that lack a value.
    """

    totals: Totals
    content_hash: str
    strays: int = 0
    nulls: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        return row_count(self.totals)


def table_query(
    side: str, table: exp.Table, columns: Sequence[Column], *, is_billing: bool, stray: exp.Expr
) -> exp.Select:
    """Sums of the rows of a table, named by `side`; without money there is one key, of empty
    texts. `stray` is true of the rows to be counted by themselves.
    """
    keys: list[exp.Expr] = [exp.Literal.string("") for _ in range(3)]
    amounts: list[exp.Expr] = [exp.Cast(this=exp.null(), to=_numeric()) for _ in range(2)]
    if is_billing:
        keys = [_text(_column(name)) for name in ("invoice_month", "cost_type", "currency")]
        amounts = [exp.Sum(this=_column(name)) for name in ("cost", "credits_total")]
    nulls = [
        exp.CountIf(this=exp.Is(this=_column(name), expression=exp.null()))
        for name in required(columns)
    ]
    halves = [
        exp.Sum(this=exp.Anonymous(this=name, expressions=[hash_of(columns), _half()]))
        for name in ("DIV", "MOD")
    ]
    query = exp.select(
        exp.alias_(exp.Literal.string(side), "side"),
        *(exp.alias_(key, f"key_{index}") for index, key in enumerate(keys)),
        exp.Count(this=exp.Star()),
        *amounts,
        *halves,
        exp.CountIf(this=stray),
        *nulls,
    )
    return query.from_(table.copy()).group_by("side", "key_0", "key_1", "key_2")


def required(columns: Sequence[Column]) -> list[str]:
    return [column.name for column in columns if column.mode is Mode.REQUIRED]


def table_sums(rows: Iterable[Sequence[Any]], columns: Sequence[Column], side: str) -> TableSums:
    """What the answer of `table_query` says of a side."""
    totals: dict[MoneyKey, Total] = {}
    digest = strays = 0
    nulls = Counter[str]()
    for row in rows:
        if row[0] == side:
            count, cost, credits_, high, low, stray = row[4:10]
            totals[MoneyKey(*row[1:4])] = total(count, cost, credits_)
            digest += high * _HALF + low
            strays += stray
            nulls.update(dict(zip(required(columns), row[10:], strict=True)))
    return TableSums(
        totals=totals,
        content_hash=content_hash(digest),
        strays=strays,
        nulls=tuple(name for name, number in nulls.items() if number),
    )


def hash_of(columns: Sequence[Column]) -> exp.Expr:
    """A hash of a row, the same for each load of it."""
    hashed = sorted(column.name for column in columns if column.name not in NOT_BUSINESS)
    struct = exp.Struct(expressions=[_column(name) for name in hashed])
    text = exp.Anonymous(this="TO_JSON_STRING", expressions=[struct])
    return exp.Anonymous(this="FARM_FINGERPRINT", expressions=[text])


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSums:
    totals: Totals
    state: SourceState


class _Group(NamedTuple):
    """A row of the source's sums: one unit, one key."""

    unit: str
    invoice_month: str
    cost_type: str
    currency: str
    rows: int
    cost: Decimal | None
    credits: Decimal | None
    newest: datetime | None
    timeless: int


def source_query(sight: Sight) -> exp.Select:
    month = exp.Dot(this=_column("invoice"), expression=exp.to_identifier("month"))
    rows = relation(sight, totals_columns(gcp_export()), with_unit=True)
    query = exp.select(
        exp.column(UNIT),
        exp.alias_(_text(month), "key_0"),
        exp.alias_(_text(_column("cost_type")), "key_1"),
        exp.alias_(_text(_column("currency")), "key_2"),
        exp.Count(this=exp.Star()),
        exp.Sum(this=_column("cost")),
        exp.Sum(this=CREDITS_OF_ROW.copy()),
        exp.Max(this=_column(EXPORTED)),
        exp.CountIf(this=exp.Is(this=_column(USAGE), expression=exp.null())),
    )
    query = query.from_(rows.subquery("rows_of_source", copy=False))
    return query.group_by(UNIT, "key_0", "key_1", "key_2")


def source_sums(
    rows: Iterable[Sequence[Any]],
    sight: Sight,
    units: Sequence[FileState],
    rows_without_time: Callable[[], str],
) -> SourceSums:
    """What the answer of `source_query` says. Raises StepFailed for rows without a usage time."""
    groups = [_Group(*row) for row in rows]
    timeless = sorted({group.unit for group in groups if group.timeless})
    if timeless:
        raise StepFailed(
            f"{', '.join(timeless)}: {rows_without_time()}",
            code="required_null",
            hint="such rows belong to no day; correct them in the source",
        )
    totals: dict[MoneyKey, Total] = {}
    held = Counter[str]()
    for group in groups:
        key = MoneyKey(group.invoice_month, group.cost_type, group.currency)
        sum_ = total(group.rows, group.cost, group.credits)
        totals[key] = totals.get(key, Total()) + sum_
        held[group.unit] += group.rows
    newest = max((group.newest for group in groups if group.newest), default=None)
    state = SourceState(
        max_export_time=newest.astimezone(UTC) if newest else None,
        files=tuple(replace(u, rows=held[u.path]) for u in units if held[u.path]),
        narrowing=sight.source.narrowing,
    )
    return SourceSums(totals=totals, state=state)


def _half() -> exp.Expr:
    return exp.Literal.number(_HALF)


def _numeric() -> exp.DataType:
    return exp.DataType.build("NUMERIC", dialect="bigquery")


def _column(name: str) -> exp.Column:
    return exp.column(name, quoted=True)


def _text(value: exp.Expr) -> exp.Expr:
    return exp.func("COALESCE", value, exp.Literal.string(""))
