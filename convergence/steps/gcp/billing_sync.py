"""`gcp.billing_sync`: load every usage day of an export whose rows changed, whatever its age."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import override

from convergence.errors import (
    Cancelled,
    CdpError,
    StepFailed,
    StepInterrupted,
    Unavailable,
    WarehouseError,
)
from convergence.model.cause import explain
from convergence.model.event import Level
from convergence.model.load import EXPIRED, LoadKey
from convergence.model.source import GrantedSource
from convergence.model.table import TableSchema
from convergence.model.twin import ROWS_TWICE, Twin, twins
from convergence.model.unit import Survey, UnitDay
from convergence.steps.base import (
    LoadOptions,
    Report,
    Settings,
    Span,
    StepContext,
    StepPlace,
)
from convergence.steps.checked import CheckedSettings
from convergence.steps.gcp.bq_etl import Destination, one_source, said_schema, schema_of
from convergence.warehouse.question import Value
from convergence.warehouse.schemas import billing_query
from convergence.warehouse.sql import fill, names
from convergence.warehouse.staged import StageRequest, Surveyed

BATCH_ROWS, BATCH_DAYS = 1_000_000, 31
TOLD = 20
"""So many links, and files that are alike, are told."""


class SyncSource(BaseModel):
    """`query` is one day's: `{date}` in it is each day in turn, `{source_billing_table}` the
    table. Without a query it is the one of `gcp/cost/cost_billing`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: str = Field(min_length=1, max_length=300)
    query: str = Field(default_factory=billing_query, min_length=1)


class BillingSyncSettings(CheckedSettings):
    source: SyncSource
    destination: Destination
    allow_shrink: bool = False
    allow_overlap: bool = False

    @override
    def checked_schema(self) -> TableSchema | None:
        return said_schema(self.destination)


class BillingSync:
    settings: ClassVar[type[Settings]] = BillingSyncSettings
    unfilled: ClassVar[tuple[tuple[str, ...], ...]] = (("source", "query"), ("quality",))

    def run(self, settings: BillingSyncSettings, context: StepContext) -> Report:
        """Load the days that changed; those that cannot be loaded are named at the end."""
        sync = Sync.of(settings, context)
        return sync.load(sorted(sync.survey.changed_days), only_stale=True)

    def request(self, settings: BillingSyncSettings, place: StepPlace) -> StageRequest:
        """As for one of the days whose rows changed: that of the run's date."""
        schema = _billing_schema(settings)
        source = _source(settings, place, schema)
        return _request(settings, place, schema, source=source.table, day=place.run_date)


@dataclass(kw_only=True)
class Sync:
    """The days of one export, many in one act: each is published whole, or not at all."""

    settings: BillingSyncSettings
    context: StepContext
    schema: TableSchema
    survey: Survey
    loaded: list[date] = field(default_factory=list)
    unchanged: list[date] = field(default_factory=list)
    failed: dict[date, CdpError] = field(default_factory=dict)
    expired: list[date] = field(default_factory=list)
    """Older than the table keeps."""
    rows: int = 0
    shrunk: list[Mapping[str, object]] = field(default_factory=list)
    """Files that hold fewer rows of a day than were published of them."""
    alike: Sequence[Twin] = ()
    """Files that may be copies, whether or not they changed."""

    @classmethod
    def of(
        cls, settings: BillingSyncSettings, context: StepContext, *, afresh: Span | None = None
    ) -> "Sync":
        schema = _billing_schema(settings)
        source = _source(settings, context, schema)
        survey = context.watch.survey(
            schema.name, source, afresh=afresh, allow_shrink=settings.allow_shrink
        )
        return cls(settings=settings, context=context, schema=schema, survey=survey)

    def load(self, days: Iterable[date], *, only_stale: bool) -> Report:
        """Load the days, then remember the source as it was surveyed, and tell what failed."""
        self._tell_of_columns()
        self._tell_of_links()
        self._tell_of_twins()
        stale = self._stale(days, only_stale=only_stale)
        try:
            for batch in _batches(stale):
                self.context.cancel.check()
                self._load_each(self._load_together(batch))
        except (Cancelled, Unavailable) as ended:
            # What was loaded until then need not be looked at again.
            self.failed |= {held.day: ended for held in stale if held.day not in self._done}
            with suppress(CdpError):
                self._settle()
            raise
        self._settle()
        if self.expired:
            self.context.log(f"{len(self.expired)} days are older than the table keeps: left out")
        self._check()
        return Report(rows=self.rows, facts=self._facts())

    def _stale(self, days: Iterable[date], *, only_stale: bool) -> list[UnitDay]:
        """The days to load. Those of which the survey found something wrong have failed already,
        also beside rows that are as they were published.
        """
        problems = self.survey.problems
        self.failed |= {day: problem for day, problem in problems.items() if day is not None}
        stale = []
        for day, held in self.survey.by_day(frozenset(days) - self.failed.keys()).items():
            if None in problems:
                self.failed[day] = problems[None]
            elif only_stale and self.survey.is_current(day):
                self.unchanged.append(day)
            else:
                stale.append(held)
        return stale

    @property
    def _done(self) -> set[date]:
        """Days that are as the source is, as far as the table keeps them."""
        return {*self.loaded, *self.unchanged, *self.expired}

    def _settle(self) -> None:
        left_out = self.survey.changed_days - self._done - self.failed.keys()
        self.context.watch.settle(self.survey, self.failed, left_out)

    def _load_each(self, days: Iterable[UnitDay]) -> None:
        for held in days:
            self.context.cancel.check()
            self._load(held)

    def _load_together(self, batch: list[UnitDay]) -> list[UnitDay]:
        """Load days in one act; those that are to be loaded by themselves."""
        if len(batch) < 2:
            return batch
        requests = [self._request(held.day, held) for held in batch]
        reports = self.context.load_together(requests, self._options)
        left = []
        for held, report in zip(batch, reports, strict=True):
            if report is None:
                left.append(held)
            else:
                self._note(held.day, report)
        return left

    def _note(self, day: date, report: Report) -> None:
        is_unchanged = "unchanged" in report.facts
        (self.unchanged if is_unchanged else self.loaded).append(day)
        self.rows += report.rows or 0
        self.shrunk += report.facts.get("files_shrunk", ())

    @property
    def _options(self) -> LoadOptions:
        return LoadOptions(
            allow_shrink=self.settings.allow_shrink,
            allow_overlap=self.settings.allow_overlap,
            keep_unchanged=True,
            is_news=not self.survey.is_first,
            checks=self.settings.suite,
        )

    def _load(self, held: UnitDay) -> None:
        day = held.day
        try:
            report = self.context.load(self._request(day, held), self._options)
        except (StepFailed, WarehouseError, Cancelled) as error:
            self.context.cancel.check()
            if error.code == EXPIRED:
                self.expired.append(day)
            else:
                self.failed[day] = error
            return
        self._note(day, report)

    def _request(self, day: date, held: UnitDay) -> StageRequest:
        survey = self.survey
        request = _request(self.settings, self.context, self.schema, source=survey.source, day=day)
        surveyed = Surveyed(totals=held.totals, state=survey.state(day), files=survey.files)
        return replace(request, surveyed=surveyed)

    def _tell_of_columns(self) -> None:
        for columns, paths in self.survey.lacking.items():
            more = f" and {len(paths) - 1} more new files" if len(paths) > 1 else ""
            self.context.log(
                f"{paths[0]}{more} without {', '.join(columns)}, which most files of "
                f"{self.survey.source} have: NULL in the bill",
                Level.WARNING,
            )

    def _tell_of_links(self) -> None:
        links = [f"{link} is {path}" for link, path in self.survey.links.items()]
        if links:
            more = f"; and {len(links) - TOLD} more" if len(links) > TOLD else ""
            self.context.log(f"links to files that are read once: {'; '.join(links[:TOLD])}{more}")

    def _tell_of_twins(self) -> None:
        self.alike = twins(self.survey)
        if self.alike:
            told = "; ".join(twin.sentence for twin in self.alike[:TOLD])
            more = f"; and {len(self.alike) - TOLD} more files" if len(self.alike) > TOLD else ""
            self.context.log(
                f"rows that count twice if a file is a copy: {told}{more}",
                Level.WARNING,
                **{ROWS_TWICE: sum(twin.rows for twin in self.alike)},
            )

    def _check(self) -> None:
        """Raise for what failed: StepInterrupted when trying again may help all of it."""
        general = self.survey.problems.get(None)
        errors = [*self.failed.values(), *([general] if general else [])]
        if not errors:
            return
        why, hint = explain(self.failed, general)
        done = f"{len(self.loaded)} loaded, {len(self.unchanged)} as they were"
        left = _days_in_words(len(self.failed)) if self.failed else "some files"
        passing = all(isinstance(error, StepInterrupted) for error in errors)
        raise (StepInterrupted if passing else StepFailed)(
            f"{left} not loaded ({done}): {why}", code=errors[0].code, hint=hint
        )

    def _facts(self) -> dict[str, object]:
        watermark = self.survey.watermark
        return {
            "table": self.schema.name,
            "source": self.survey.source,
            "files": len(self.survey.seen),
            "files_changed": len(self.survey.altered),
            "days_loaded": [day.isoformat() for day in sorted(self.loaded)],
            "days_unchanged": [day.isoformat() for day in sorted(self.unchanged)],
            "watermark": watermark.isoformat() if watermark else None,
            **({"days_expired": len(self.expired)} if self.expired else {}),
            **({"files_shrunk": self.shrunk} if self.shrunk else {}),
            **({"files_alike": [twin.to_json() for twin in self.alike]} if self.alike else {}),
        }


def _days_in_words(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"


def _batches(days: Iterable[UnitDay]) -> Iterator[list[UnitDay]]:
    """Days to be loaded in one act, together of about `BATCH_ROWS`: small ones cost more to
    publish than to read, and DuckDB's commits merge what part-filled row groups acts leave behind.
    """
    batch: list[UnitDay] = []
    for held in days:
        batch.append(held)
        if sum(day.rows for day in batch) >= BATCH_ROWS or len(batch) == BATCH_DAYS:
            yield batch
            batch = []
    if batch:
        yield batch


def _billing_schema(settings: BillingSyncSettings) -> TableSchema:
    schema = schema_of(settings.destination)
    if schema is None:
        raise StepFailed(
            "only a bill can be kept in step with its source",
            code="schema_mismatch",
            hint="destination.schema_template: billing_cost",
        )
    return schema


def _request(
    settings: BillingSyncSettings,
    place: StepPlace,
    schema: TableSchema,
    *,
    source: str,
    day: date,
) -> StageRequest:
    return StageRequest(
        dataset=place.dataset,
        table=schema.name,
        schema=schema,
        scope=place.scope,
        key=LoadKey(table=schema.name, day=day, source=source),
        sql=settings.source.query,
        names=_names(settings, place, day),
        partition_by=settings.destination.partition,
    )


def _names(settings: BillingSyncSettings, place: StepPlace, day: date) -> dict[str, Value]:
    return {**place.names, "source_billing_table": settings.source.table, "date": day}


def _source(settings: BillingSyncSettings, place: StepPlace, schema: TableSchema) -> GrantedSource:
    """The one export that the query reads."""
    tree = fill.fill(settings.source.query, _names(settings, place, place.run_date), parameters={})
    table = one_source(names.resolve(tree, place.scope), schema)
    return next(source for source in place.scope.sources if source.table == table)
