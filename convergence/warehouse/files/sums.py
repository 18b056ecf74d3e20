"""What a source holds, summed by a query of its own: the other side of a load's proof."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

import duckdb
from sqlglot import exp, parse_one

from convergence.errors import StepFailed
from convergence.model.cancel import CancelToken
from convergence.model.load import FileState, SourceState
from convergence.model.money import MoneyKey, Total, Totals
from convergence.model.unit import is_of_many, mixed, parted, usual_columns
from convergence.warehouse.files.export import DAY_COLUMN, Sight, columns_of, relation
from convergence.warehouse.files.shapes import FILE_COLUMN, digest
from convergence.warehouse.files.trouble import changed_while_read, rows_without
from convergence.warehouse.held import ACCOUNT, total
from convergence.warehouse.schemas import gcp_export, totals_columns
from convergence.warehouse.staged import StageRequest

CREDITS_OF_ROW = parse_one(
    "LIST_SUM(LIST_TRANSFORM(credits, LAMBDA c : c.amount))", dialect="duckdb"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSums:
    totals: Totals
    state: SourceState


def source_of(
    cursor: duckdb.DuckDBPyConnection,
    sights: Sequence[Sight],
    request: StageRequest,
    cancel: CancelToken,
) -> SourceSums:
    """The source's own sums: those of the survey, if its files are the same now.

    Raises StepFailed, StepInterrupted, and what the token says.
    """
    surveyed = request.surveyed
    if surveyed is None:
        days = (request.key.day,)
        sights = [replace(sight, days=days if sight.days else ()) for sight in sights]
        return source_sums(cursor, sights, request, cancel)
    there = frozenset[FileState]().union(*(sight.states_to_read for sight in sights))
    held = {replace(file, rows=0) for file in surveyed.state.files}
    if other := (there - surveyed.files) | (held - there):
        raise changed_while_read(sorted({file.path for file in other}))
    return SourceSums(totals=surveyed.totals, state=surveyed.state)


def source_sums(
    cursor: duckdb.DuckDBPyConnection,
    sights: Sequence[Sight],
    request: StageRequest,
    cancel: CancelToken,
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
        _check_timed(cursor, sight, groups, request.table, cancel)
        _check_accounts(sight, groups, request.accounts)
        for group in groups:
            key = MoneyKey(group.invoice_month, group.cost_type, group.currency)
            totals[key] = totals.get(key, Total()) + total(group.rows, group.cost, group.credits)
        files += _files_with_rows(sight, groups, cancel)
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
        *(exp.alias_(or_empty(value), f"key_{index}") for index, value in enumerate(keys)),
        exp.Count(this=exp.Star()),
        exp.func("SUM", _column("cost")),
        exp.func("SUM", CREDITS_OF_ROW.copy()),
        exp.func("MAX", _column("export_time")),
        exp.CountIf(this=exp.Is(this=_column("usage_start_time"), expression=exp.null())),
    )
    query = query.from_(rows.subquery("rows_of_source", copy=False))
    query = query.group_by(FILE_COLUMN, *(f"key_{index}" for index in range(len(keys))))
    return query.sql("duckdb")


def _check_timed(
    cursor: duckdb.DuckDBPyConnection,
    sight: Sight,
    groups: Iterable[_Group],
    table: str,
    cancel: CancelToken,
) -> None:
    if any(group.timeless for group in groups):
        where = rows_without(cursor, [sight], [DAY_COLUMN], cancel)
        raise StepFailed(
            f"{table}: {where or f'{DAY_COLUMN} is NULL'}",
            code="required_null",
            hint="such rows belong to no day; correct them, or export the file again",
        )


def _check_accounts(sight: Sight, groups: Sequence[_Group], known: frozenset[str]) -> None:
    if is_of_many(sight.source.table, sight.source.narrowing):
        return
    accounts_of: dict[str, frozenset[str]] = {}
    rows_of = Counter[str]()
    for group in sorted(groups, key=lambda group: group.file):
        found = frozenset([group.account] if group.account else [])
        accounts_of[group.file] = accounts_of.get(group.file, frozenset()) | found
        rows_of[group.file] += group.rows
    own, foreign = parted(accounts_of, rows_of, known)
    for path in foreign:
        what = f"{rows_of[path]} rows of {', '.join(map(str, sight.days)) or 'all days'}"
        raise mixed(sight.source.table, own, path, accounts_of[path], what)


def _files_with_rows(
    sight: Sight, groups: Iterable[_Group], cancel: CancelToken
) -> list[FileState]:
    rows = Counter[str]()
    for group in groups:
        rows[group.file] += group.rows
    usual = usual_columns(map(columns_of, sight.shapes))
    return [
        replace(
            shape.state,
            rows=rows[shape.path],
            content_hash=digest(shape.path, cancel),
            lacking=tuple(sorted(usual - columns)) if (columns := columns_of(shape)) else (),
        )
        for shape in sight.to_read
        if rows[shape.path]
    ]


def _column(name: str) -> exp.Column:
    return exp.column(name, quoted=True)


def or_empty(value: exp.Expr) -> exp.Expr:
    """The text, and '' in place of NULL: one key of money."""
    return exp.func("COALESCE", value, exp.Literal.string(""))
