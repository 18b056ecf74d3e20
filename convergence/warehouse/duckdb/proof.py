"""The proof of a load: what was written beside what the source holds, and what it replaces."""

from collections.abc import Sequence

from convergence.errors import StepFailed
from convergence.model.cancel import CancelToken
from convergence.model.load import SourceState
from convergence.model.restatement import Change
from convergence.warehouse import requested
from convergence.warehouse.duckdb import changes, parts
from convergence.warehouse.duckdb.sums import TableSums, table_sums
from convergence.warehouse.duckdb.written import StagedLoad, is_compared, slice_of
from convergence.warehouse.files.sums import source_of
from convergence.warehouse.files.trouble import check_unchanged
from convergence.warehouse.staged import StagedTotals, WriteMode


def totals_of(staged: StagedLoad, cancel: CancelToken) -> StagedTotals:
    """The sums of both sides. Raises StepFailed for rows of another day, StepInterrupted for files
    that have changed, and what the token says.
    """
    request, sights = staged.request, staged.transaction.prepared.sights
    if staged.written is None:
        staged.written = _written(staged)
    written = staged.written
    source = None
    if requested.is_billing(request):
        sums = source_of(staged.transaction.cursor, sights, request, cancel)
        source, state = sums.totals, sums.state
    else:
        read = (shape.state for sight in sights for shape in sight.to_read)
        state = SourceState(files=tuple(read))
    _check_sources(staged)
    return StagedTotals(
        rows=staged.rows,
        loaded=written.totals,
        source=source,
        previous=staged.previous.totals,
        previous_rows=staged.previous.rows,
        previous_hash=staged.previous.content_hash,
        content_hash=written.content_hash,
        state=state,
        matched=frozenset[str]().union(*(sight.paths for sight in sights)),
        sql=staged.statement,
        changes=_changes(staged),
    )


def _written(staged: StagedLoad) -> TableSums:
    request, transaction = staged.request, staged.transaction
    columns = transaction.columns
    rows = slice_of(request, columns, parts.written(request, columns))
    stray = parts.is_of_other_day(request) if rows.is_billing else None
    written = table_sums(transaction.cursor, rows, stray=stray)
    if request.mode is WriteMode.REPLACE_PARTITION:
        _check_day(staged, written)
    return written


def _check_sources(staged: StagedLoad) -> None:
    """Whether all that was read is as it was. Days whose sums were known before are looked at
    together: nothing is read of them once their rows are written.
    """
    transaction, is_surveyed = staged.transaction, staged.request.surveyed is not None
    if is_surveyed and transaction.sources_are_same:
        return
    check_unchanged(transaction.prepared.sights)
    transaction.sources_are_same = is_surveyed


def _changes(staged: StagedLoad) -> tuple[Change, ...]:
    """Those of the load; they are found for all days of the transaction at once."""
    if not is_compared(staged.request) or staged.is_unchanged:
        return ()
    if staged.changes is None:
        _compare([load for load in staged.transaction.loads if is_compared(load.request)])
    return staged.changes or ()


def _compare(loads: Sequence[StagedLoad]) -> None:
    changed = [load for load in loads if not load.is_unchanged]
    requests = [load.request for load in changed]
    transaction, day = loads[0].transaction, parts.day_column(requests[0])
    rows = slice_of(requests[0], transaction.columns, parts.days_written(requests))
    days = [load.key.day for load in changed]
    found = changes.by_day(transaction.cursor, rows, day, days)
    for load in changed:
        load.changes = found.get(load.key.day, ())


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
