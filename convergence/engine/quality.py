"""Check rows: those that a load has staged, and those that are there. What was found is kept.

A critical check that fails raises: then a load is not published, and the old rows stay.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from convergence.engine import alert
from convergence.engine.at_schema import first_kept
from convergence.engine.service import Service
from convergence.errors import Cancelled, Conflict, Invalid, StepFailed, WarehouseError
from convergence.model.cancel import CancelToken
from convergence.model.check import Check, CheckKind
from convergence.model.event import Level
from convergence.model.load import NO_SOURCE, Load, LoadKey
from convergence.model.money import MoneyKey, Total, Totals, differences
from convergence.model.quality import (
    CheckResult,
    Measure,
    QualityResult,
    Verdict,
    judge,
    sample_of,
)
from convergence.model.run import Run
from convergence.model.table import TableSchema
from convergence.steps.base import Inspection, Report, StepLog
from convergence.store import loads, quality
from convergence.warehouse.question import QueryLimits, Result, Scope, Value
from convergence.warehouse.sql import quality_queries
from convergence.warehouse.sql.quality_queries import DAY, Place, Question, Rows
from convergence.warehouse.staged import Staged, StagedTotals, StageRequest, WriteMode

Ask = Callable[[Question], Result]
MAX_ROWS = 100_000
PATIENCE = 4
"""A query of checks may take so many times as long as a tenant's question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """What was staged, its totals, the load that it will be, and the one that it follows."""

    request: StageRequest
    staged: Staged
    totals: StagedTotals
    before: Load | None
    load_id: str

    @property
    def is_sample(self) -> bool:
        return self.request.limit is not None

    @property
    def is_unchanged(self) -> bool:
        """Whether the rows that are there are these, and a full load's, or there are none."""
        is_whole = not self.totals.rows if self.before is None else not self.before.is_sample
        return self.totals.is_unchanged and is_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """Rows to check: how to ask about them, and how they differ from their source.

    `counted` is the answer to `measures`, where it is known already.
    """

    key: LoadKey
    rows: Rows
    ask: Ask
    names: Mapping[str, Value]
    differences: Callable[[], list[str]]
    counted: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Checker:
    """Checks for one attempt of one step."""

    service: Service
    run: Run
    step_id: str
    scope: Scope
    names: Mapping[str, Value]
    cancel: CancelToken
    tell: StepLog

    def check_staged(self, proven: Proven, checks: Sequence[Check]) -> QualityResult | None:
        """None without checks. Raises StepFailed, code quality_failed, for a critical failure."""
        if not checks:
            return None
        return self.conclude(self._check(self._look(proven), checks), proven.load_id)

    def find_together(
        self, days: Sequence[Proven], checks: Sequence[Check]
    ) -> list[QualityResult | None]:
        """What the same finds of days that were staged together, as far as can be in one query;
        it is not kept yet.
        """
        if not checks or not days:
            return [None for _ in days]
        looks = [self._look(day) for day in days]
        counted = self._count(looks, checks)
        results: list[QualityResult | None] = []
        for day, look in zip(days, looks, strict=True):
            found = counted.get(look.key.day, {})
            is_whole = found.get("row_count") == day.totals.rows
            known = replace(look, counted=found) if is_whole else look
            results.append(self._check(known, checks))
        return results

    def _look(self, proven: Proven) -> _Look:
        request, totals = proven.request, proven.totals
        return _Look(
            key=request.key,
            rows=_staged_rows(request, self.run),
            ask=lambda question: self._ask_staged(proven.staged, question),
            names=request.names,
            differences=lambda: differences(totals.loaded, totals.source or {}),
        )

    @property
    def _patience(self) -> float:
        """Seconds that a query of checks may take."""
        return PATIENCE * self.service.config.query_seconds

    def _ask_staged(self, staged: Staged, question: Question) -> Result:
        seconds = self._patience
        late = Cancelled(
            f"a query of the checks took longer than {seconds:g} s",
            code="query_timeout",
            hint="is there a join in a condition? CDP_QUERY_TIMEOUT gives more time",
        )
        with self.cancel.within(seconds, late) as cancel:
            return self.service.warehouse.look(
                staged, question.sql, cancel, parameters=question.parameters
            )

    def _count(
        self, looks: Sequence[_Look], checks: Sequence[Check]
    ) -> dict[date, Mapping[str, Any]]:
        """What `measures` says of each day that the first look sees; of none where a check names
        what is another thing for each day.
        """
        first = looks[0]
        common = {
            name: value
            for name, value in first.names.items()
            if all(look.names[name] == value for look in looks)
        }
        days, now = [look.key.day for look in looks], self.service.clock.now()
        try:
            asked = quality_queries.measures_by_day(checks, first.rows, days, names=common, now=now)
        except Invalid:
            return {}
        with self._broken(first.key):
            return {row["day"]: row for row in _named(first.ask(asked))}

    def inspect(self, wanted: Inspection) -> Report:
        """Check rows that are there. Raises StepFailed, code quality_failed."""
        (dataset,) = self.scope.datasets
        limits = QueryLimits(seconds=self._patience, rows=MAX_ROWS)
        columns = [column.name for column in self.service.warehouse.columns(dataset, wanted.table)]
        _check_columns(wanted, columns)
        look = _Look(
            key=LoadKey(table=wanted.table, day=wanted.day, source=NO_SOURCE),
            rows=Rows(
                place=Place(
                    project=self.scope.project,
                    dataset=dataset,
                    table=wanted.table,
                    day_column=wanted.day_column,
                ),
                parameters={DAY: wanted.day},
            ),
            ask=lambda question: self.service.warehouse.query(
                self.scope, question.in_full, limits, self.cancel
            ),
            names=self.names,
            differences=lambda: self._differences(look),
        )
        return Report(facts=facts_of(self.conclude(self._check(look, wanted.checks), None)))

    def _check(self, look: _Look, checks: Sequence[Check]) -> QualityResult:
        now = self.service.clock.now()
        with self._broken(look.key):
            results = _results(look, checks, now)
        return QualityResult(
            dq_result_id=self._id(look.key),
            tenant_id=self.run.tenant_id,
            run_id=self.run.run_id,
            step_id=self.step_id,
            table=look.key.table,
            day=look.key.day,
            source=look.key.source,
            suite=f"{self.run.template}#{self.step_id}",
            executed_at=now,
            checks=results,
        )

    @contextmanager
    def _broken(self, key: LoadKey) -> Iterator[None]:
        """What goes wrong with the checks themselves, told as that."""
        try:
            yield
        except (Cancelled, Invalid, StepFailed, WarehouseError) as error:
            self.cancel.check()
            raise StepFailed(
                f"{key.table} {key.day}: the quality checks cannot be made: {error.detail}",
                code="quality_broken",
                hint=error.hint or "look at the conditions of the checks; cdp sql tries them",
            ) from error

    def conclude(self, result: QualityResult, load_id: str | None) -> QualityResult:
        """Keep the result and tell of it, and of what is critical everybody."""
        is_failed = result.verdict is Verdict.FAIL
        result = replace(result, load_id=None if is_failed else load_id)
        with self.service.database.write() as tx:
            is_ours = quality.record(tx, self.run, result)
            if is_ours and is_failed:
                alert.quality_failed(tx, self.run, result)
        if not is_ours:
            raise Conflict(
                f"run {self.run.run_id} has passed to another attempt", code="attempt_lost"
            )
        if is_failed:
            raise StepFailed(
                f"{result.table} {result.day}: {result.sentence}",
                code="quality_failed",
                hint=f"cdp quality show {result.dq_result_id} shows rows that fail; "
                "the old rows are still in place",
            )
        level = Level.WARNING if result.verdict is Verdict.WARNING else Level.INFO
        self.tell(f"{result.table} of {result.day}: {result.sentence}", level, **facts_of(result))
        return result

    def _differences(self, look: _Look) -> list[str]:
        """Of the rows that are there and what their loads saw of the source."""
        first = last = look.key.day
        if not look.rows.place.day_column:
            (dataset,) = self.scope.datasets
            schema = TableSchema(name=look.key.table, columns=())
            first, last = first_kept(self.service, dataset, schema), date.max
        found = look.ask(quality_queries.totals(look.rows)).rows
        ours = {
            MoneyKey(*row[:3]): Total(row[3], row[4] or Decimal(0), row[5] or Decimal(0))
            for row in found
        }
        with self.service.database.read() as tx:
            newest = loads.newest(tx, self.run.tenant_id, look.key.table, first=first, last=last)
        theirs: dict[MoneyKey, Total] = {}
        for load in newest:
            theirs = _sum(theirs, load.source_totals)
        return differences(ours, theirs)

    def _id(self, key: LoadKey) -> str:
        """The same for each try of the same step: a repeat is no second result."""
        name = f"{self.run.run_id}/{self.step_id}/{key.table}/{key.day}/{key.source}"
        return str(uuid5(NAMESPACE_OID, name))


def facts_of(result: QualityResult | None) -> dict[str, object]:
    """What a step's report and log say of it."""
    if result is None:
        return {}
    return {
        "dq_result_id": result.dq_result_id,
        "quality": result.verdict.value,
        "checks_passed": result.passed_count,
        "checks_failed": len(result.failed),
    }


def _results(look: _Look, checks: Sequence[Check], now: datetime) -> tuple[CheckResult, ...]:
    counted = look.counted
    if counted is None:
        asked = quality_queries.measures(checks, look.rows, names=look.names, now=now)
        (counted,) = _named(look.ask(asked))
    return tuple(
        _result(look, check, _measure(look, check, number, counted), now)
        for number, check in enumerate(checks)
    )


def _measure(look: _Look, check: Check, number: int, counted: Mapping[str, Any]) -> Measure:
    actual = counted.get(f"actual_{number}")
    if check.check is CheckKind.SUM_MATCHES_SOURCE:
        actual = "; ".join(look.differences())
    elif f"actual_{number}" in counted and check.check is CheckKind.CUSTOM_SQL and actual is None:
        actual = True  # of no rows nothing is known, and what is not known does not fail
    return Measure(
        checked=counted.get(f"checked_{number}", counted["row_count"]),
        failed=counted.get(f"failed_{number}", 0),
        actual=actual,
    )


def _result(look: _Look, check: Check, measure: Measure, now: datetime) -> CheckResult:
    """With rows that fail, when there are some that may be shown."""
    result = judge(check, measure, now=now)
    asked = None
    if not result.passed:
        asked = quality_queries.samples(check, look.rows, names=look.names, now=now)
    if asked is None:
        return result
    answer = look.ask(asked)
    names = [name for name, _ in answer.columns]
    samples = tuple(sample_of(names, row, check.read_columns) for row in answer.rows)
    return replace(result, samples=samples)


def _staged_rows(request: StageRequest, run: Run) -> Rows:
    """What the load has written: all rows of the day and source where those are replaced."""
    is_day = request.mode is WriteMode.REPLACE_PARTITION
    place = Place(
        project=request.scope.project,
        dataset=request.dataset,
        table=request.table,
        day_column=request.partition_by if is_day else "",
        stamps=("x_source",) if is_day else ("x_source", "x_run_id"),
    )
    return Rows(
        place=place,
        parameters={
            DAY: request.key.day,
            "x_source": request.key.source,
            "x_run_id": run.run_id,
        },
    )


def _check_columns(wanted: Inspection, known: Sequence[str]) -> None:
    asked = [name for check in wanted.checks for name in check.read_columns]
    asked += [wanted.day_column] if wanted.day_column else []
    if unknown := sorted({*asked} - {*known}):
        raise StepFailed(
            f"{wanted.table} has no column {', '.join(unknown)}",
            code="unknown_column",
            hint="it has " + ", ".join(known),
        )


def _named(answer: Result) -> list[dict[str, Any]]:
    names = [name for name, _ in answer.columns]
    return [dict(zip(names, row, strict=True)) for row in answer.rows]


def _sum(one: Mapping[MoneyKey, Total], other: Totals) -> dict[MoneyKey, Total]:
    return {key: one.get(key, Total()) + other.get(key, Total()) for key in {*one, *other}}
