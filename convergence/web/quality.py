"""Quality: each check by day, those that fail first, with rows that fail."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from convergence.model.quality import CheckResult, QualityResult
from convergence.store import quality
from convergence.store.quality import Wanted
from convergence.web.problems import PageRoute
from convergence.web.render import page
from convergence.web.visitor import Looking

router = APIRouter(route_class=PageRoute, include_in_schema=False)

READ = 200
"""Results, the newest: what the page is made of."""
DAYS, TREND = 14, 30
"""Days that are shown one by one, and those that a check's trend is drawn of."""

TableName = Annotated[str | None, Query(max_length=300)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One check of one table: what it found on each day of the trend; None: it was not made."""

    check: CheckResult
    trend: Sequence[CheckResult | None]

    @property
    def cells(self) -> Sequence[CheckResult | None]:
        return self.trend[: -DAYS - 1 : -1]

    @property
    def made(self) -> int:
        return sum(cell is not None for cell in self.trend)

    @property
    def failures(self) -> int:
        return sum(cell is not None and not cell.passed for cell in self.trend)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A table: its checks by day, the newest first, and the results of days with failures."""

    table: str
    days: Sequence[date]
    results: Sequence[QualityResult]
    rows: Sequence[Row]

    @property
    def failing(self) -> Sequence[QualityResult]:
        return [result for result in self.results if result.failed]


@router.get("/quality")
def show(visitor: Looking, request: Request, table: TableName = None) -> Response:
    tenant = visitor.subject
    with visitor.service.database.read() as tx:
        found = quality.page(tx, tenant.tenant_id, Wanted(table=table), limit=READ)
    return page(
        request,
        "quality.html",
        visitor=visitor,
        here="quality",
        tenant=tenant,
        sections=[_section(name, of) for name, of in _by_table(found).items()],
        table=table,
    )


def _by_table(found: Sequence[QualityResult]) -> Mapping[str, list[QualityResult]]:
    """The newest result of each day and source."""
    newest: dict[tuple[str, date, str], QualityResult] = {}
    for result in found:
        newest.setdefault((result.table, result.day, result.source), result)
    tables: dict[str, list[QualityResult]] = {}
    for result in newest.values():
        tables.setdefault(result.table, []).append(result)
    return tables


def _section(table: str, found: Sequence[QualityResult]) -> Section:
    trend = sorted({result.day for result in found})[-TREND:]
    days = trend[: -DAYS - 1 : -1]
    cells: dict[str, dict[date, CheckResult]] = {}
    for result in found:
        for check in result.checks:
            of_check = cells.setdefault(check.name, {})
            known = of_check.get(result.day)
            if known is None or known.passed:
                of_check[result.day] = check
    rows = [
        Row(check=next(iter(of.values())), trend=[of.get(day) for day in trend])
        for of in cells.values()
    ]
    shown = [result for result in found if result.day in days]
    by_day = sorted(shown, key=lambda result: result.day, reverse=True)
    return Section(
        table=table,
        days=days,
        results=by_day,
        rows=sorted(rows, key=lambda row: -row.failures),
    )
