"""What the partitions of a source hold of each usage day, in one read over all that changed."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any

from sqlglot import exp

from convergence.model.load import FileState
from convergence.model.money import MoneyKey, Total
from convergence.model.unit import Unit, UnitDay
from convergence.warehouse.bigquery.sources import EXPORTED, UNIT, USAGE, Sight, relation
from convergence.warehouse.bigquery.sums import CREDITS_OF_ROW, total
from convergence.warehouse.schemas import gcp_export, totals_columns

ACCOUNT = "billing_account_id"
TIMELESS = "{rows} rows without usage_start_time: they would be in no day"


@dataclass(slots=True)
class _Held:
    """What one partition was found to hold."""

    totals: dict[date, dict[MoneyKey, Total]] = field(default_factory=lambda: defaultdict(dict))
    newest: dict[date, datetime] = field(default_factory=dict)
    accounts: set[str] = field(default_factory=set)
    timeless: int = 0

    def add(self, row: Sequence[Any]) -> None:
        _, day, account, month, cost_type, currency, rows, cost, credits_, newest = row
        self.accounts.add(account)
        if day is None:
            self.timeless += rows
            return
        key = MoneyKey(month, cost_type, currency)
        known = self.totals[day].get(key, Total())
        self.totals[day][key] = known + total(rows, cost, credits_)
        if newest is not None:
            moment = newest.astimezone(UTC)
            self.newest[day] = max(moment, self.newest.get(day, moment))

    def days(self) -> Iterator[UnitDay]:
        for day, totals in sorted(self.totals.items()):
            yield UnitDay(day=day, totals=totals, max_export_time=self.newest.get(day))


def survey_query(sight: Sight) -> exp.Select:
    """Sums by partition, usage day, account and key, of the partitions of `sight`."""
    month = exp.Dot(this=exp.column("invoice"), expression=exp.to_identifier("month"))
    rows = relation(sight, totals_columns(gcp_export(), ACCOUNT), with_unit=True)
    day = exp.cast(exp.column(USAGE), exp.DType.DATE)
    keys = (exp.column(ACCOUNT), month, exp.column("cost_type"), exp.column("currency"))
    query = exp.select(
        exp.column(UNIT),
        exp.alias_(day, "usage_day"),
        *(exp.alias_(_text(value), f"key_{index}") for index, value in enumerate(keys)),
        exp.Count(this=exp.Star()),
        exp.Sum(this=exp.column("cost")),
        exp.Sum(this=CREDITS_OF_ROW.copy()),
        exp.Max(this=exp.column(EXPORTED)),
    )
    query = query.from_(rows.subquery("rows_of_source", copy=False))
    return query.group_by(UNIT, "usage_day", *(f"key_{index}" for index in range(len(keys))))


def units_of(
    rows: Iterable[Sequence[Any]], sight: Sight, files: Sequence[FileState]
) -> tuple[Unit, ...]:
    """The units, one for each partition, from the answer of `survey_query`."""
    held: dict[str, _Held] = defaultdict(_Held)
    for row in rows:
        held[row[0]].add(row)
    known = {column.name for column in gcp_export().columns}
    columns = frozenset(c.name for each in sight.exports for c in each.columns) & known
    return tuple(_unit(file, held.get(file.path, _Held()), columns) for file in files)


def _unit(file: FileState, held: _Held, columns: frozenset[str]) -> Unit:
    return Unit(
        file=file,
        content_hash=_hash(file),
        columns=columns,
        accounts=frozenset(account for account in held.accounts if account),
        days=tuple(held.days()),
        fault=TIMELESS.format(rows=held.timeless) if held.timeless else "",
    )


def same(files: Sequence[FileState], known: Mapping[str, Unit]) -> dict[str, Unit]:
    """Partitions that are just as they are known to be."""
    found = {}
    for file in files:
        unit = known.get(file.path)
        if unit is not None and unit.content_hash == _hash(file):
            found[file.path] = replace(unit, file=file)
    return found


def _hash(file: FileState) -> str:
    """A partition tells by its size and the time of its change whether it is another now."""
    text = f"{file.path} {file.size} {file.mtime_ns}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _text(value: exp.Expr) -> exp.Expr:
    return exp.func("COALESCE", value, exp.Literal.string(""))
