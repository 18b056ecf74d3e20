"""The sums that prove a load: of rows in a table, and of a source, each by its own query."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb
from sqlglot import exp

from convergence.model.money import MoneyKey, Totals, row_count
from convergence.model.table import Column
from convergence.warehouse.files.sums import or_empty
from convergence.warehouse.held import NOT_BUSINESS, content_hash, total

WHOLE = MoneyKey("", "", "")
"""The one key of a table that holds no money."""


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

    def is_of_same_rows(self, other: "TableSums") -> bool:
        return (self.rows, self.content_hash) == (other.rows, other.content_hash)


NOTHING = TableSums(totals={}, content_hash=content_hash(0))
"""The sums of no rows."""


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
        keys = [or_empty(_column(name)) for name in ("invoice_month", "cost_type", "currency")]
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
    digest = sum(int(row[6]) for row in rows)
    totals = {MoneyKey(*row[:3]): total(*row[3:6]) for row in rows}
    strays = sum(row[7] for row in rows)
    return TableSums(totals=totals, content_hash=content_hash(digest), strays=strays)


def hash_of(columns: Sequence[Column]) -> exp.Expr:
    """A hash of a row, the same for each load of it."""
    hashed = [_column(column.name) for column in columns if column.name not in NOT_BUSINESS]
    return exp.Anonymous(this="hash", expressions=hashed)


def _column(name: str) -> exp.Column:
    return exp.column(name, quoted=True)
