"""Carry rows into the warehouse exactly once, proven: lease, stage, reconcile, check, publish.

Each act is repeatable, and a crash between any two of them is settled by the next load of the same
key: the warehouse alone knows whether a load was published, and is asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from uuid import uuid4

from convergence.engine import accept
from convergence.engine.accept import ShrunkFile
from convergence.engine.agree import check_warehouse
from convergence.engine.at_schema import check_tables
from convergence.engine.hold import Leases, copies_others, settle
from convergence.engine.overlap import check_overlaps
from convergence.engine.quality import Checker, Proven, facts_of
from convergence.engine.service import Service
from convergence.errors import CdpError, Conflict, StepFailed, Unavailable, WarehouseError
from convergence.model.cancel import CancelToken
from convergence.model.event import Level, rows_in_words
from convergence.model.load import EXPIRED, Load, LoadKey, LoadStatus
from convergence.model.money import totals_to_json
from convergence.model.quality import QualityResult, Verdict
from convergence.model.restatement import Change, Reason, reason_of
from convergence.model.run import Run
from convergence.outside.logs import Log
from convergence.steps.base import LoadOptions, Report, StepLog
from convergence.store import incomplete, loads, restatements, runs, tenants, units, usage
from convergence.warehouse.question import Value
from convergence.warehouse.staged import LoadRecord, Staged, StagedTotals, StageRequest

GIGABYTE = 10**9
UNKNOWN = frozenset({EXPIRED, "source_missing"})
"""Codes of failures that say nothing of a day's rows."""
TOLD = 5
"""So many files of a day are told of one by one."""

Checked = tuple[Proven, QualityResult | None]
"""A day that may be published, and what its checks found."""

log = Log(__name__)


@dataclass(frozen=True, kw_only=True)
class Loader:
    """Loads for one attempt of one step. `lease_seconds` outlasts the step's timeout."""

    service: Service
    run: Run
    step_id: str
    lease_seconds: float
    cancel: CancelToken
    tell: StepLog
    checker: Checker

    def load(self, request: StageRequest, options: LoadOptions) -> Report:
        """Publish the rows of `request`, or raise StepFailed and leave the old ones visible."""
        self._check_place(request)
        with self._leases.hold(request.key):
            finished = self._settle(request)
            try:
                return finished or self._load(request, options)
            except (StepFailed, WarehouseError) as error:
                if request.limit is None and error.code not in UNKNOWN:
                    self._note_failed(request.key, error)
                raise

    def load_together(
        self, requests: Sequence[StageRequest], options: LoadOptions
    ) -> list[Report | None]:
        """Publish days of one table in one act. None of those that cannot be, or that another run
        loads just now: loaded one by one, each waits, and tells by itself what is wrong.
        """
        if not self.service.warehouse.loads_together:
            return [None for _ in requests]
        self._check_place(requests[0])
        reports: dict[date, Report | None] = {}
        with self._leases.hold_free(*(request.key for request in requests)) as held:
            free = [request for request in requests if request.key in held]
            try:
                reports |= {request.key.day: self._settle(request) for request in free}
                left = [request for request in free if reports[request.key.day] is None]
                while left:
                    done, left = self._try_together(left, options)
                    reports |= done
            except (StepFailed, WarehouseError) as error:
                log.info("days not loaded together", error=error.detail)
        return [reports.get(request.key.day) for request in requests]

    def _note_failed(self, key: LoadKey, error: CdpError) -> None:
        """The day lacks rows now, unless a newer attempt has taken the run over. When the store is
        away, the run's failure says so alone.
        """
        of, now = self.run, self.service.clock.now()
        try:
            with self.service.database.write() as tx:
                if runs.hold(tx, of.tenant_id, of.run_id, attempt=of.attempt):
                    incomplete.note(
                        tx, of.tenant_id, key, run_id=of.run_id, code=error.code, now=now
                    )
        except Unavailable as away:
            log.warning("incomplete day not noted", day=key.day.isoformat(), error=away.detail)

    def _check_place(self, request: StageRequest) -> None:
        """Whether the tenant's tables are here, and as they should be. Raises StepFailed."""
        with self.service.database.read() as tx:
            tenant = tenants.get(tx, self.run.tenant_id)
        try:
            check_warehouse(self.service, tenant)
        except Conflict as moved:
            raise StepFailed(moved.detail, code=moved.code, hint=moved.hint) from moved
        check_tables(self.service, tenant, request.schema)

    def _try_together(
        self, requests: Sequence[StageRequest], options: LoadOptions
    ) -> tuple[dict[date, Report], list[StageRequest]]:
        """Publish all of the days; or none, where some are not to be: then give the others. Days
        that are as they were have their reports already.
        """
        warehouse, now = self.service.warehouse, self.service.clock.now()
        before = [self._published(request.key) for request in requests]
        ready = [
            self._ready(request, load, options, now)
            for request, load in zip(requests, before, strict=True)
        ]
        staged = warehouse.stage_together(ready, self.cancel)
        try:
            days = [self._proven(*each) for each in zip(ready, staged, before, strict=True)]
            reports, passing = self._parted(days, options)
            if len(passing) == len(days):
                return self._publish_together(passing, options), []
        finally:
            for each in staged:
                warehouse.discard(each)
        left = {day.request.key for day, _ in passing}
        return reports, [request for request in requests if request.key in left]

    def _parted(
        self, days: Sequence[Proven], options: LoadOptions
    ) -> tuple[dict[date, Report], list[Checked]]:
        """Reports of the days that are as they were; and those that may be published."""
        reports, others = {}, []
        for day in days:
            if not self._is_acceptable(day, options):
                continue
            if options.keep_unchanged and day.is_unchanged:
                reports[day.request.key.day] = self._confirm(day)
            else:
                others.append(day)
        found = self.checker.find_together(others, options.checks)
        passing = [
            (day, result)
            for day, result in zip(others, found, strict=True)
            if result is None or result.verdict is not Verdict.FAIL
        ]
        return reports, passing

    def _publish_together(
        self, checked: Sequence[Checked], options: LoadOptions
    ) -> dict[date, Report]:
        days = [day for day, _ in checked]
        self._check_overlaps(days, options)
        found = [result and self.checker.conclude(result, day.load_id) for day, result in checked]
        done = [self._record(day) for day in days]
        self.cancel.check()
        records = map(self._published_record, done)
        staged = [day.staged for day in days]
        self.service.warehouse.publish_together(list(zip(staged, records, strict=True)))
        self._finish(days[0].request, done)
        return {
            load.key.day: _report(load, day, quality)
            for load, day, quality in zip(done, days, found, strict=True)
        }

    def _ready(
        self, request: StageRequest, before: Load | None, options: LoadOptions, now: datetime
    ) -> StageRequest:
        stamps: dict[str, Value] = {
            "x_run_id": self.run.run_id,
            "x_source": request.key.source,
            "x_ingested_at": now,
            request.partition_by: request.key.day,
        }
        is_reported = options.is_news if before is None else not before.is_sample
        accounts = self._accounts(request.key) if request.surveyed is None else frozenset[str]()
        return replace(_with_stamps(request, stamps), with_changes=is_reported, accounts=accounts)

    def _accounts(self, key: LoadKey) -> frozenset[str]:
        """Those that syncs of the source have seen."""
        with self.service.database.read() as tx:
            return units.accounts(tx, self.run.tenant_id, key.table, key.source)

    def _published(self, key: LoadKey) -> Load | None:
        with self.service.database.read() as tx:
            return loads.published(tx, self.run.tenant_id, key)

    def _load(self, request: StageRequest, options: LoadOptions) -> Report:
        warehouse = self.service.warehouse
        before = self._published(request.key)
        request = self._ready(request, before, options, self.service.clock.now())
        staged = warehouse.stage(request, self.cancel)
        try:
            proven = self._proven(request, staged, before)
            self._accept(proven, options)
            if options.keep_unchanged and proven.is_unchanged:
                return self._confirm(proven)
            self._check_overlaps([proven], options)
            quality = self.checker.check_staged(proven, options.checks)
            load = self._record(proven)
            self.cancel.check()
            warehouse.publish(staged, self._published_record(load))
        finally:
            warehouse.discard(staged)
        self._finish(request, [load])
        return _report(load, proven, quality)

    def _proven(self, request: StageRequest, staged: Staged, before: Load | None) -> Proven:
        totals = self.service.warehouse.totals(staged, self.cancel)
        return Proven(
            request=request, staged=staged, totals=totals, before=before, load_id=str(uuid4())
        )

    def _accept(self, proven: Proven, options: LoadOptions) -> None:
        """Raise StepFailed for what may not be published."""
        allow_shrink = options.allow_shrink or self.run.allow_shrink
        accept.check(proven, allow_shrink=allow_shrink)

    def _is_acceptable(self, proven: Proven, options: LoadOptions) -> bool:
        try:
            self._accept(proven, options)
        except StepFailed:
            return False
        return True

    def _finish(self, request: StageRequest, done: Sequence[Load]) -> None:
        """What the warehouse has published, the store says, too: one load after the other, so that
        what they restate has an order.
        """
        with self.service.database.write() as tx:
            now = self.service.clock.now()
            for number, load in enumerate(done):
                at = now + number * loads.TICK
                loads.publish(tx, self.run.tenant_id, load.load_id, now=at)
        self._measure(request.dataset)
        for load in done:
            self.tell(
                f"published {rows_in_words(load.rows)} of {load.key.table} of {load.key.day}",
                load_id=load.load_id,
                source=load.key.source,
                rows_before=sum(total.rows for total in load.previous.values()),
            )

    def _measure(self, dataset: str) -> None:
        """Note the size. What is published is published, also where it cannot be measured."""
        try:
            stored = Decimal(self.service.warehouse.storage_bytes(dataset)) / GIGABYTE
        except CdpError as error:
            log.info("storage not measured", dataset=dataset, error=error.detail)
            return
        now = self.service.clock.now()
        with self.service.database.write() as tx:
            usage.set_storage(tx, self.run.tenant_id, now.date(), stored, now=now)

    def _check_overlaps(self, staged: Sequence[Proven], options: LoadOptions) -> None:
        check_overlaps(
            self.service,
            self.run.tenant_id,
            staged,
            is_allowed=options.allow_overlap,
            tell=self.tell,
            cancel=self.cancel,
        )

    def _confirm(self, proven: Proven) -> Report:
        """The day is as the source is; where it is found now replaces where it was found."""
        before, key = proven.before, proven.request.key
        with self.service.database.write() as tx:
            incomplete.clear(tx, self.run.tenant_id, key)
            if before is not None:
                loads.confirm(tx, self.run.tenant_id, before.load_id, proven.totals.state)
        load_id = before.load_id if before else None
        return Report(rows=0, facts={"day": key.day.isoformat(), "unchanged": load_id})

    def _record(self, proven: Proven) -> Load:
        key, totals, before = proven.request.key, proven.totals, proven.before
        for doubt in accept.doubts(proven.request, totals):
            self.tell(doubt, Level.WARNING)
        self._tell_of_shrunk(accept.shrunk(proven))
        load = Load(
            load_id=proven.load_id,
            run_id=self.run.run_id,
            tenant_id=self.run.tenant_id,
            key=key,
            attempt=self.run.attempt,
            status=LoadStatus.STAGED,
            totals=totals.loaded,
            source_totals=totals.source or {},
            previous=totals.previous,
            content_hash=totals.content_hash,
            source_state=totals.state,
            is_sample=proven.is_sample,
            rows=totals.rows,
            step_id=self.step_id,
            staged_at=self.service.clock.now(),
        )
        old_run_id = before.run_id if before else ""
        with self.service.database.write() as tx:
            loads.stage(tx, load)
            restatements.stage(tx, load, self._reasons(key, totals), old_run_id=old_run_id)
        return load

    def _tell_of_shrunk(self, shrunk: Sequence[ShrunkFile]) -> None:
        if shrunk:
            told = "; ".join(each.sentence for each in shrunk[:TOLD])
            more = f"; and {len(shrunk) - TOLD} more files" if len(shrunk) > TOLD else ""
            self.tell(
                f"fewer rows than were published: {told}{more}",
                Level.WARNING,
                **{accept.ROWS_LOST: sum(each.rows_before - each.rows for each in shrunk)},
            )

    def _reasons(self, key: LoadKey, totals: StagedTotals) -> list[tuple[Change, Reason]]:
        today = self.service.clock.now().date()
        days = self.service.config.arriving_days
        return [
            (change, reason_of(change, key.day, today=today, arriving_days=days))
            for change in totals.changes
        ]

    def _published_record(self, load: Load) -> LoadRecord:
        return LoadRecord(
            load_id=load.load_id,
            run_id=load.run_id,
            attempt=load.attempt,
            template_hash=self.run.template_hash,
            is_sample=load.is_sample,
            loaded_at=self.service.clock.now(),
        )

    def _settle(self, request: StageRequest) -> Report | None:
        """Close what a crash left STAGED. A load of this very run that took effect is its end.

        Where a publish copies the day's rows of other sources, what is open of those is closed,
        too: its job may still run.
        """
        key = request.key
        with self.service.database.read() as tx:
            left = loads.staged(
                tx, self.run.tenant_id, key, with_others=copies_others(self.service)
            )
        report = None
        for load in left:
            took_effect = settle(self.service, request.dataset, load)
            if took_effect and (load.run_id, load.key) == (self.run.run_id, key):
                report = _report(load)
        return report

    @property
    def _leases(self) -> Leases:
        return Leases(
            service=self.service,
            run=self.run,
            seconds=self.lease_seconds,
            cancel=self.cancel,
            tell=self.tell,
        )


def _with_stamps(request: StageRequest, stamps: Mapping[str, Value]) -> StageRequest:
    return replace(request, stamps={**stamps, **request.stamps})


def _report(
    load: Load, proven: Proven | None = None, quality: QualityResult | None = None
) -> Report:
    """Of a load whose end a crash has left, less is known."""
    shrunk = [each.to_json() for each in accept.shrunk(proven)] if proven else []
    return Report(
        rows=load.rows,
        facts={
            "load_id": load.load_id,
            "table": load.key.table,
            "day": load.key.day.isoformat(),
            "source": load.key.source,
            "is_sample": load.is_sample,
            "totals": totals_to_json(load.totals),
            "source_totals": totals_to_json(load.source_totals),
            "replaced_totals": totals_to_json(load.previous),
            "content_hash": load.content_hash,
            "source_state": load.source_state.to_json(),
            "sql": proven.totals.sql if proven else "",
            **({"files_shrunk": shrunk} if shrunk else {}),
            **facts_of(quality),
        },
    )
