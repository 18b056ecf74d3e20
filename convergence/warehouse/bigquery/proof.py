"""The proof of a load: what was staged beside what the source holds, and what it replaces."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlglot import exp

from convergence.errors import CdpError, StepFailed
from convergence.model.cancel import CancelToken
from convergence.model.load import SourceState
from convergence.model.money import Totals
from convergence.model.restatement import Change
from convergence.warehouse import requested
from convergence.warehouse.bad_rows import null_in
from convergence.warehouse.bigquery import changes, parts, trouble
from convergence.warehouse.bigquery.faults import CALL_SECONDS, RETRY, told
from convergence.warehouse.bigquery.jobs import Jobs
from convergence.warehouse.bigquery.looking import Looking
from convergence.warehouse.bigquery.reading import answer_of, prepare
from convergence.warehouse.bigquery.sums import (
    TableSums,
    source_query,
    source_sums,
    table_query,
    table_sums,
)
from convergence.warehouse.bigquery.written import StagedLoad, explained
from convergence.warehouse.question import Parameters, QueryLimits, Result
from convergence.warehouse.sql import fill, names
from convergence.warehouse.sql.statement import parse
from convergence.warehouse.staged import StagedTotals

ALL = QueryLimits(rows=1_000_000)
"""What a question to staged rows may answer: a part of it would be another answer."""


class Proof:
    """Asks about rows that are staged."""

    def __init__(self, jobs: Jobs, looking: Looking) -> None:
        self._jobs = jobs
        self._looking = looking

    def totals(self, staged: StagedLoad, cancel: CancelToken) -> StagedTotals:
        """The sums of both sides. Raises StepFailed for rows that must not be published."""
        written, previous = self._sides(staged, cancel)
        self._check(staged, written, cancel)
        source, state = self._source(staged, cancel)
        return StagedTotals(
            rows=written.rows,
            loaded=written.totals,
            source=source,
            previous=previous.totals,
            previous_rows=previous.rows,
            previous_hash=previous.content_hash,
            content_hash=written.content_hash,
            state=state,
            matched=frozenset(unit.path for unit in staged.units),
            sql=staged.statement,
            changes=self._changes(staged, written, previous, cancel),
        )

    def _sides(self, staged: StagedLoad, cancel: CancelToken) -> tuple[TableSums, TableSums]:
        """What was staged, and what it replaces."""
        request, columns = staged.request, staged.columns
        is_billing = requested.is_billing(request)
        new = table_query(
            "new",
            staged.table,
            columns,
            is_billing=is_billing,
            stray=parts.is_stray(request, columns),
        )
        old = table_query(
            "old", staged.target, columns, is_billing=is_billing, stray=exp.false()
        ).where(parts.replaced(request, columns, staged.table))
        found = self._answer(staged, exp.union(new, old, distinct=False), cancel)
        return table_sums(found, columns, "new"), table_sums(found, columns, "old")

    def _check(self, staged: StagedLoad, written: TableSums, cancel: CancelToken) -> None:
        request = staged.request
        if written.nulls:
            where = f"{request.dataset}.{request.table}"
            raise null_in(where, written.nulls, self._rows_without(staged, written.nulls, cancel))
        if written.strays:
            strays = parts.strays(request, staged.columns, staged.table)
            found = self._answer(staged, strays, cancel)
            seen = ", ".join(f"{count} on {day}" for day, count in found[:5])
            raise StepFailed(
                f"{request.table} {request.key.day}: rows fall on another day: {seen}",
                code="other_day",
                hint=f"filter the query by the day; {request.partition_by} must be the run's date",
            )

    def _rows_without(self, staged: StagedLoad, columns: Sequence[str], cancel: CancelToken) -> str:
        """Which rows lack a value: those of the files, or keys that find them in the table."""
        if staged.sight is not None and staged.sight.source.files is not None:
            source = staged.sight.source
            return self._looking.rows_without(staged.request, source, columns, cancel)
        there = [column.name for column in staged.columns]
        ask = partial(self._answer, staged, cancel=cancel)
        return trouble.rows_without(ask, staged.table, there, columns)

    def check_amounts(self, staged: StagedLoad, error: CdpError, cancel: CancelToken) -> None:
        """Where a statement failed on what a table holds, raise StepFailed that names the rows."""
        if staged.sight is not None and staged.sight.read is None:
            trouble.check_amounts(partial(self._answer, staged, cancel=cancel), staged.sight, error)

    def _source(self, staged: StagedLoad, cancel: CancelToken) -> tuple[Totals | None, SourceState]:
        """The source's own sums, as of the moment at which it was staged."""
        if staged.sight is None or not requested.is_billing(staged.request):
            return None, SourceState(files=staged.units)
        if (read := staged.sight.read) is not None:
            return read.totals, read.state
        ask = partial(self._answer, staged, cancel=cancel)
        timeless = partial(trouble.rows_without_time, ask, staged.sight)
        sums = source_sums(ask(source_query(staged.sight)), staged.sight, staged.units, timeless)
        return sums.totals, sums.state

    def _changes(
        self, staged: StagedLoad, written: TableSums, previous: TableSums, cancel: CancelToken
    ) -> tuple[Change, ...]:
        request = staged.request
        is_same = written.content_hash == previous.content_hash
        if is_same or not (request.with_changes and requested.is_billing_day(request)):
            return ()
        old = parts.replaced(request, staged.columns, staged.table)
        query = changes.of_day(staged.table, staged.target, staged.columns, old)
        return changes.found(self._answer(staged, query, cancel))

    def _answer(
        self, staged: StagedLoad, query: exp.Query, cancel: CancelToken
    ) -> list[tuple[Any, ...]]:
        job = self._jobs.query(staged.request.dataset, query.sql("bigquery"), cancel=cancel)
        with told():
            return [row.values() for row in job.result(retry=RETRY, timeout=CALL_SECONDS)]

    def look(
        self, staged: StagedLoad, sql: str, cancel: CancelToken, parameters: Parameters
    ) -> Result:
        """Answer a statement that sees the staged rows in their table."""
        request = staged.request
        kept = parts.kept(request, staged.columns, staged.table)
        shown = [exp.column(column.name, quoted=True) for column in staged.columns]
        both = exp.union(
            exp.select(*shown).from_(staged.table.copy()),
            exp.select(*shown).from_(staged.target.copy()).where(kept),
            distinct=False,
        )
        with explained(request), self._looking.for_check(request.dataset, cancel) as look_at:
            tree = fill.put_parameters(parse(sql), parameters)
            resolved = names.resolve(tree, request.scope)
            instead = {request.table: both.subquery()}
            prepared = prepare(request.dataset, resolved, look_at, instead=instead)
            job = self._jobs.query(request.dataset, prepared.sql, cancel=cancel)
            columns, found = answer_of(job, ALL)
        if len(found) > ALL.rows:
            raise StepFailed(
                f"{request.table} {request.key.day}: more than {ALL.rows:,} rows are the answer",
                code="result_too_large",
            )
        return Result(columns=columns, rows=found, truncated=False, sql=prepared.sql)

    def check_keys(self, staged: StagedLoad, cancel: CancelToken) -> None:
        """Raise StepFailed where the rows to be merged do not tell themselves apart."""
        request = staged.request
        found = self._answer(staged, parts.repeated_keys(request, staged.table), cancel)
        if found:
            raise StepFailed(
                f"{request.table}: the query gives several rows for one key: {found}",
                code="merge_key_repeated",
                hint="merge_keys must tell the rows apart: " + ", ".join(request.merge_keys),
            )
