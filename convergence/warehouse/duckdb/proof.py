"""The proof of a load: what was written beside what the source holds, and what it replaces."""

from convergence.errors import StepFailed
from convergence.model.load import SourceState
from convergence.model.restatement import Change
from convergence.warehouse.base import StagedTotals, WriteMode
from convergence.warehouse.duckdb import changes, parts
from convergence.warehouse.duckdb.sums import (
    Slice,
    TableSums,
    table_sums,
)
from convergence.warehouse.duckdb.written import StagedLoad, is_compared
from convergence.warehouse.files.sums import source_of
from convergence.warehouse.files.trouble import check_unchanged


def totals_of(staged: StagedLoad) -> StagedTotals:
    """The sums of both sides. Raises StepFailed for rows of another day, StepInterrupted for files
    that have changed.
    """
    request, sights = staged.request, staged.transaction.prepared.sights
    written = staged.written or _written(staged)
    source = None
    state = SourceState(files=tuple(shape.state for sight in sights for shape in sight.to_read))
    if parts.is_billing(request):
        sums = source_of(staged.transaction.cursor, sights, request)
        source, state = sums.totals, sums.state
    check_unchanged(sights)
    return StagedTotals(
        rows=staged.rows,
        loaded=written.totals,
        source=source,
        previous=staged.previous.totals,
        previous_rows=staged.previous.rows,
        previous_hash=staged.previous.content_hash,
        content_hash=written.content_hash,
        state=state,
        matched=frozenset(shape.path for sight in sights for shape in sight.shapes),
        sql=staged.statement,
        changes=_changes(staged, written),
    )


def _written(staged: StagedLoad) -> TableSums:
    request, transaction = staged.request, staged.transaction
    rows = Slice(
        table=parts.target(request),
        columns=transaction.columns,
        where=parts.written(request, transaction.columns),
        is_billing=parts.is_billing(request),
    )
    stray = parts.is_of_other_day(request) if rows.is_billing else None
    written = table_sums(transaction.cursor, rows, stray=stray)
    if request.mode is WriteMode.REPLACE_PARTITION:
        _check_day(staged, written)
    return written


def _changes(staged: StagedLoad, written: TableSums) -> tuple[Change, ...]:
    is_same = written.content_hash == staged.previous.content_hash
    if is_same or not is_compared(staged.request):
        return ()
    return changes.of_day(
        staged.transaction.cursor,
        parts.target(staged.request),
        staged.transaction.columns,
        parts.written(staged.request, staged.transaction.columns),
        with_old=staged.previous.rows > 0,
    )


def _check_day(staged: StagedLoad, written: TableSums) -> None:
    """Rows that a reload of the day would not replace must not be published."""
    request = staged.request
    if written.strays or written.rows != staged.rows:
        query = parts.strays(request, staged.transaction.columns)
        strays = staged.transaction.cursor.execute(query.sql("duckdb")).fetchall()
        seen = ", ".join(f"{count} on {day}" for day, count in strays[:5])
        raise StepFailed(
            f"{request.table} {request.key.day}: rows fall on another day: {seen}",
            code="other_day",
            hint=f"filter the query by the day; {request.partition_by} must be the run's date",
        )
