"""The sums that prove a load: of rows in a table, and of a source, each by its own query."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import duckdb
from sqlglot import exp, parse_one

from convergence.errors import StepFailed
from convergence.model.load import FileState, SourceState
from convergence.model.money import MoneyKey, Total, Totals, row_count
from convergence.model.table import Column
from convergence.model.unit import is_of_many, mixed, parted
from convergence.warehouse.duckdb.export import Sight, relation
from convergence.warehouse.duckdb.files import FILE_COLUMN, digest
from convergence.warehouse.held import ACCOUNT, total
from convergence.warehouse.schemas import gcp_export, totals_columns

WHOLE = MoneyKey("", "", "")
"""The one key of a table that holds no money."""

NOT_BUSINESS = frozenset({"x_run_id", "x_ingested_at"})
"""Columns that differ between two loads of the same rows."""

_HASH_MODULUS = 2**128
CREDITS_OF_ROW = parse_one(
    "LIST_SUM(LIST_TRANSFORM(credits, LAMBDA c : c.amount))", dialect="duckdb"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSums:
    """Totals of some rows of a table, and a hash of them that no order changes.

    `strays` are the rows of a bill whose usage is of another day than asked for.
    """

    totals: Totals
    content_hash: str
    strays: int = 0

    @property
    def rows(self) -> int:
        return row_count(self.totals)


NOTHING = TableSums(totals={}, content_hash=f"{0:032x}")
"""The sums of no rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSums:
    totals: Totals
    state: SourceState


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """The rows `where` of a table."""

    table: exp.Table
    columns: Sequence[Column]
    where: exp.Expr
    is_billing: bool


def table_sums(
    cursor: duckdb.DuckDBPyConnection, rows: Slice, *, stray: exp.Expr | None = None
) -> TableSums:
    """Sums of the rows; a table without money has the one key WHOLE. `stray` is true of those to
    be counted by themselves.
    """
    return sums_by(exp.null(), cursor, rows, stray=stray).get(None, NOTHING)


def sums_by(
    day: exp.Expr, cursor: duckdb.DuckDBPyConnection, rows: Slice, *, stray: exp.Expr | None = None
) -> dict[date | None, TableSums]:
    """The same of each `day` that has rows."""
    keys: list[exp.Expr] = [exp.Literal.string("") for _ in range(3)]
    amounts: list[exp.Expr] = [exp.null() for _ in range(2)]
    if rows.is_billing:
        keys = [_text(_column(name)) for name in ("invoice_month", "cost_type", "currency")]
        amounts = [exp.func("SUM", _column(name)) for name in ("cost", "credits_total")]
    row_hash = exp.cast(hash_of(rows.columns), "HUGEINT", dialect="duckdb")
    query = exp.select(
        exp.alias_(day, "key_day"),
        *(exp.alias_(key, f"key_{index}") for index, key in enumerate(keys)),
        exp.Count(this=exp.Star()),
        *amounts,
        exp.func("SUM", row_hash),
        exp.CountIf(this=stray or exp.false()),
    )
    query = query.from_(rows.table).where(rows.where).group_by("key_day", "key_0", "key_1", "key_2")
    found = defaultdict[date | None, list[tuple[Any, ...]]](list)
    for of_day, *row in cursor.execute(query.sql("duckdb")).fetchall():
        found[of_day].append(tuple(row))
    return {of_day: _sums(rows) for of_day, rows in found.items()}


def _sums(rows: Sequence[tuple[Any, ...]]) -> TableSums:
    digest = sum(int(row[6]) for row in rows) % _HASH_MODULUS
    totals = {MoneyKey(*row[:3]): total(*row[3:6]) for row in rows}
    strays = sum(row[7] for row in rows)
    return TableSums(totals=totals, content_hash=f"{digest:032x}", strays=strays)


def hash_of(columns: Sequence[Column]) -> exp.Expr:
    """A hash of a row, the same for each load of it."""
    hashed = [_column(column.name) for column in columns if column.name not in NOT_BUSINESS]
    return exp.Anonymous(this="hash", expressions=hashed)


def source_sums(
    cursor: duckdb.DuckDBPyConnection, sights: Sequence[Sight], table: str
) -> SourceSums:
    """The day's sums, straight from the files; and which of them held rows.

    Raises StepFailed for rows without a usage time, which would be in no day, and for files of two
    exports.
    """
    totals: dict[MoneyKey, Total] = {}
    files: list[FileState] = []
    newest: datetime | None = None
    for sight in sights:
        groups = [_Group(*row) for row in cursor.execute(_source_query(sight)).fetchall()]
        _check_timed(groups, table)
        _check_accounts(sight, groups)
        for group in groups:
            key = MoneyKey(group.invoice_month, group.cost_type, group.currency)
            totals[key] = totals.get(key, Total()) + total(group.rows, group.cost, group.credits)
        files += _files_with_rows(sight, groups)
        times = [group.newest for group in groups if group.newest is not None]
        newest = max([*times, *([newest] if newest else [])], default=None)
    newest = newest.astimezone(UTC) if newest else None
    narrowing = next((sight.source.narrowing for sight in sights), "")
    state = SourceState(max_export_time=newest, files=tuple(files), narrowing=narrowing)
    return SourceSums(totals=totals, state=state)


class _Group(NamedTuple):
    """A row of the source's sums: one file, one account, one key."""

    file: str
    account: str
    invoice_month: str
    cost_type: str
    currency: str
    rows: int
    cost: Decimal | None
    credits: Decimal | None
    newest: datetime | None
    timeless: int


def _source_query(sight: Sight) -> str:
    month = exp.Dot(this=_column("invoice"), expression=exp.to_identifier("month"))
    rows = relation(sight, totals_columns(gcp_export(), ACCOUNT), with_file=True)
    keys = (_column(ACCOUNT), month, _column("cost_type"), _column("currency"))
    query = exp.select(
        _column(FILE_COLUMN),
        *(exp.alias_(_text(value), f"key_{index}") for index, value in enumerate(keys)),
        exp.Count(this=exp.Star()),
        exp.func("SUM", _column("cost")),
        exp.func("SUM", CREDITS_OF_ROW.copy()),
        exp.func("MAX", _column("export_time")),
        exp.CountIf(this=exp.Is(this=_column("usage_start_time"), expression=exp.null())),
    )
    query = query.from_(rows.subquery("rows_of_source", copy=False))
    query = query.group_by(FILE_COLUMN, *(f"key_{index}" for index in range(len(keys))))
    return query.sql("duckdb")


def _check_timed(groups: Iterable[_Group], table: str) -> None:
    timeless = sorted({group.file for group in groups if group.timeless})
    if timeless:
        raise StepFailed(
            f"{table}: rows without usage_start_time in {', '.join(timeless)}",
            code="required_null",
            hint="such rows belong to no day; export the file again",
        )


def _check_accounts(sight: Sight, groups: Sequence[_Group]) -> None:
    if is_of_many(sight.source.table, sight.source.narrowing):
        return
    accounts_of: dict[str, frozenset[str]] = {}
    for group in sorted(groups, key=lambda group: group.file):
        found = frozenset([group.account] if group.account else [])
        accounts_of[group.file] = accounts_of.get(group.file, frozenset()) | found
    own, foreign = parted(accounts_of)
    for path in foreign:
        rows = sum(group.rows for group in groups if group.file == path)
        what = f"{rows} rows of {', '.join(map(str, sight.days)) or 'all days'}"
        raise mixed(sight.source.table, own, path, accounts_of[path], what)


def _files_with_rows(sight: Sight, groups: Iterable[_Group]) -> list[FileState]:
    rows = Counter[str]()
    for group in groups:
        rows[group.file] += group.rows
    return [
        replace(shape.state, rows=rows[shape.path], content_hash=digest(shape.path))
        for shape in sight.to_read
        if rows[shape.path]
    ]


def _column(name: str) -> exp.Column:
    return exp.column(name, quoted=True)


def _text(value: exp.Expr) -> exp.Expr:
    return exp.func("COALESCE", value, exp.Literal.string(""))
