"""Watch a source: what of it has changed since a run last left its days as they should be."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import partial

from typing_extensions import override

from convergence.engine.at_schema import check_tables, first_kept
from convergence.engine.service import Service
from convergence.errors import CdpError, StepFailed
from convergence.model.cancel import CancelToken
from convergence.model.load import FileState, IncompleteDay
from convergence.model.run import Run
from convergence.model.source import GrantedSource
from convergence.model.unit import Survey, Unit, find_problems
from convergence.steps.base import SourceWatch, Span
from convergence.store import incomplete, loads, runs, tenants, units
from convergence.warehouse.schemas import tenant_schemas


@dataclass(frozen=True, kw_only=True)
class Watch(SourceWatch):
    """For one attempt of one step."""

    service: Service
    run: Run
    dataset: str
    cancel: CancelToken

    @override
    def survey(
        self,
        table: str,
        source: GrantedSource,
        *,
        allow_shrink: bool,
        afresh: Span | None = None,
    ) -> Survey:
        now = self.service.clock.now()
        first = self._check_place(table)
        files = self.service.warehouse.files_of(source)
        if not files and not source.shows_nothing:
            raise StepFailed(
                f"{source.table}: no file matches the source",
                code="source_missing",
                hint="check the glob: cdp sources ls; has the export arrived?",
            )
        tenant_id, name = self.run.tenant_id, source.table
        with self.service.database.read() as tx:
            mark = units.watermark(tx, tenant_id, table, name)
            known = units.known(tx, tenant_id, table, name)
            published = loads.read_from(tx, tenant_id, table, name, first=first)
        if mark is not None and mark.narrowing != source.narrowing:
            known = {path: replace(unit, content_hash="") for path, unit in known.items()}
        survey = Survey(
            table=table,
            source=source.table,
            narrowing=source.narrowing,
            known=known,
            seen=self._seen(source, files, _without(known, afresh), now),
            published=published,
            links={link: file.path for file in files for link in file.links},
            is_first=mark is None or mark.watermark is None,
        )
        allow = allow_shrink or self.run.allow_shrink
        locate = partial(self._rows_of_day, source)
        problems = find_problems(survey, today=now.date(), allow_shrink=allow, locate=locate)
        return replace(survey, problems=problems)

    def _rows_of_day(self, source: GrantedSource, path: str, day: date) -> str:
        """Empty where the search fails: what was found is told without it."""
        try:
            return self.service.warehouse.rows_of_day(self.dataset, source, path, day, self.cancel)
        except CdpError:
            self.cancel.check()
            return ""

    def _check_place(self, table: str) -> date:
        """The first day that the table keeps. Raises StepFailed unless the rows that the store
        knows of are there.
        """
        with self.service.database.read() as tx:
            tenant = tenants.get(tx, self.run.tenant_id)
        schema = tenant_schemas().get(table)
        check_tables(self.service, tenant, schema)
        return first_kept(self.service, self.dataset, schema) if schema else date.min

    @override
    def published_days(self, table: str, source: str, first: date, last: date) -> set[date]:
        with self.service.database.read() as tx:
            return loads.published_days(
                tx, self.run.tenant_id, table, source, first=first, last=last
            )

    @override
    def settle(self, survey: Survey, failed: Mapping[date, CdpError], left_out: Set[date]) -> None:
        stale, now = failed.keys() | left_out, self.service.clock.now()
        keep, forget = survey.settled(stale)
        codes = {day: error.code for day, error in failed.items()}
        if (general := survey.problems.get(None)) is not None:
            codes[IncompleteDay.EVERY_DAY] = general.code
        with self.service.database.write() as tx:
            if not runs.hold(tx, self.run.tenant_id, self.run.run_id, attempt=self.run.attempt):
                return
            units.settle(
                tx,
                self.run.tenant_id,
                survey,
                keep=keep,
                forget=forget,
                is_whole=survey.is_whole(stale),
                run_id=self.run.run_id,
                now=now,
            )
            incomplete.settle(
                tx,
                self.run.tenant_id,
                survey.table,
                survey.source,
                failed=codes,
                left_out=left_out,
                run_id=self.run.run_id,
                now=now,
            )

    def _seen(
        self,
        source: GrantedSource,
        files: tuple[FileState, ...],
        known: Mapping[str, Unit],
        now: datetime,
    ) -> dict[str, Unit]:
        """Every file as a unit; only those that look other than they did are read."""
        looked = {file.path: known.get(file.path) for file in files}
        same = {
            file.path: unit
            for file in files
            if (unit := looked[file.path]) and unit.content_hash and unit.is_as(file)
        }
        other = [file for file in files if file.path not in same]
        found: tuple[Unit, ...] = ()
        if other:
            found = self.service.warehouse.survey(self.dataset, source, other, known, self.cancel)
        return same | {unit.path: replace(unit, seen_at=now) for unit in found}


def _without(known: Mapping[str, Unit], afresh: Span | None) -> Mapping[str, Unit]:
    """The units but for those that hold one of the days which shall be read again."""
    if afresh is None:
        return known
    first, last = afresh
    return {
        path: unit
        for path, unit in known.items()
        if not any(first <= day <= last for day in unit.dates)
    }
