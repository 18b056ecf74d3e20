"""The operator's way without a server: the same answers, from the parts in this process.

Reads open the store alone. What needs the warehouse first takes the home, until `close`.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO
from uuid import uuid4

from convergence import wiring
from convergence.api import wire
from convergence.cli import findings
from convergence.cli.embedded_tenants import EmbeddedTenants
from convergence.cli.homes import take_home
from convergence.engine import administer, arrange
from convergence.errors import Cancelled, NotFound
from convergence.model.run import Trigger
from convergence.outside.home import HomeLock
from convergence.outside.logs import Logs
from convergence.settings.fields import Settings
from convergence.store import events, fleet, runs, schedules, tenants

if TYPE_CHECKING:
    from convergence.client import Tell
Json = dict[str, Any]

PAGE = 1000
POLL_SECONDS = 0.2
PIECE = 1 << 16


class EmbeddedClient(EmbeddedTenants):
    """Answers as the operator. Nothing is opened before it is needed."""

    def __init__(self, settings: Settings) -> None:
        service = wiring.build(settings)
        super().__init__(service)
        self._lock: HomeLock | None = None
        self._settling = Lock()
        secrets = (*settings.secret_values(), *service.secrets.values)
        self._logs = Logs(service.home.path / "logs", level=settings.log_level, secrets=secrets)

    def close(self) -> None:
        self._service.close()
        if self._lock is not None:
            self._lock.release()
        self._logs.close()

    def backup(self) -> Json:
        from convergence.engine.backup import backup_at_home

        self._take_home()
        return wire.backup_out(*backup_at_home(self._service)).model_dump(mode="json")

    def schema(self, tenant_id: str | None) -> list[Json]:
        from convergence.engine import migrate

        self._take_home()
        states = migrate.status(self._service, tenant_id)
        return [wire.table_state_out(state).model_dump(mode="json") for state in states]

    def dryrun(self, application: Json) -> Json:
        from convergence.engine import onboard

        self._take_home()
        wanted = onboard.Application(**application)
        checks = onboard.check_application(self._service, wanted)
        return wire.dryrun_out(wanted, checks).model_dump(mode="json")

    def onboard(self, application: Json) -> Json:
        from convergence.engine import ledger, onboard

        self._take_home()
        wanted = onboard.Application(**application)
        onboarded = onboard.onboard(self._service, wanted)
        ledger.publish(self._service)
        return wire.onboarded_out(onboarded).model_dump(mode="json")

    def sources(self) -> list[Json]:
        with self._service.database.read() as tx:
            found = fleet.sources(tx)
        return [wire.source_out(source).model_dump(mode="json") for source in found]

    def add_source(self, source: Json) -> Json:
        wanted = wire.checked(wire.SourceIn, source).to_source()
        return wire.source_out(administer.put_source(self._service, wanted)).model_dump(mode="json")

    def remove_source(self, table: str) -> None:
        administer.remove_source(self._service, table)

    def check_source(self, table: str) -> list[Json]:
        from convergence.engine.inspect import inspect

        self._take_home()
        found = wire.source_check_out(table, inspect(self._service, table))
        return [each.model_dump(mode="json") for each in found.items]

    def templates(self) -> list[Json]:
        found = self._service.library.valid()
        return [wire.template_out(template).model_dump(mode="json") for template in found]

    def template(self, ref: str) -> Json:
        library = self._service.library
        shown = wire.template_shown(library.get(ref), library.text(ref))
        return shown.model_dump(mode="json")

    def schedules(self, tenant_id: str) -> list[Json]:
        with self._service.database.read() as tx:
            tenants.get(tx, tenant_id)
            found = schedules.of_tenant(tx, tenant_id)
        return [wire.schedule_out(each).model_dump(mode="json") for each in found]

    def schedule(self, tenant_id: str, config_id: str) -> Json:
        with self._service.database.read() as tx:
            found = schedules.get(tx, tenant_id, config_id)
            missed = schedules.misses(tx, tenant_id, config_id, limit=PAGE)
        return wire.schedule_shown(found, missed).model_dump(mode="json")

    def add_schedule(self, tenant_id: str, wanted: Json) -> Json:
        asked = wire.checked(wire.ScheduleIn, wanted).to_request()
        added = arrange.add_schedule(self._service, tenant_id, asked)
        return wire.schedule_out(added).model_dump(mode="json")

    def change_schedule(self, tenant_id: str, config_id: str, changes: Json) -> Json:
        asked = wire.checked(wire.SchedulePatch, changes).changes
        changed = arrange.change_schedule(self._service, tenant_id, config_id, asked)
        return wire.schedule_out(changed).model_dump(mode="json")

    def remove_schedule(self, tenant_id: str, config_id: str) -> None:
        arrange.remove_schedule(self._service, tenant_id, config_id)

    def trigger(self, tenant_id: str, ref: str, wanted: Json) -> Json:
        from convergence.engine.launch import launch

        self._prepare_to_execute()
        now = self._service.clock.now()
        asked = wire.checked(wire.RunIn, wanted)
        launched = launch(
            self._service, asked.to_request(tenant_id, ref, trigger=Trigger.CLI, now=now)
        )
        return wire.accepted_out(launched.run, is_new=launched.is_new).model_dump(mode="json")

    def plan(self, tenant_id: str, ref: str, wanted: Json) -> Json:
        from convergence.engine.plan import plan

        self._take_home()
        asked = wire.checked(wire.RunIn, wanted)
        now = self._service.clock.now()
        request = asked.to_request(tenant_id, ref, trigger=Trigger.CLI, now=now)
        return wire.plan_out(plan(self._service, request)).model_dump(mode="json")

    def follow(self, run_id: str, tell: "Tell") -> Json:
        """Execute the run, unless a worker of the same store lives, which will."""
        from convergence.engine import ledger
        from convergence.engine.cancel import trip_cancelled
        from convergence.engine.deliver import deliver
        from convergence.engine.execute import Executor

        if not self.is_alone():
            from convergence.client import follow_events

            return follow_events(self, run_id, tell)
        executor = Executor(service=self._service, worker=f"cdp-run-{uuid4()}")

        def pause() -> None:
            wait([walking], POLL_SECONDS)
            trip_cancelled(executor)

        with ThreadPoolExecutor(1) as pool:
            walking = pool.submit(executor.walk, self._tenant_of(run_id), run_id)
            try:
                for event in self._events(run_id, is_over=walking.done, pause=pause):
                    tell(event)
            except KeyboardInterrupt:
                for token in executor.tokens.values():
                    token.trip(Cancelled("interrupted by Ctrl-C"))
                raise
            finally:
                walking.exception()
                with self._settling:
                    ledger.publish(self._service)
                    deliver(self._service)
        walking.result()
        return self.run(run_id)

    def events(self, run_id: str, *, follow: bool = False) -> Iterator[Json]:
        return self._events(
            run_id,
            is_over=lambda: not follow or not self._is_live(run_id),
            pause=lambda: time.sleep(POLL_SECONDS),
        )

    def cancel(self, run_id: str) -> Json:
        from convergence.engine.cancel import cancel

        cancelled = cancel(self._service, self._tenant_of(run_id), run_id)
        return wire.run_out(cancelled).model_dump(mode="json")

    def retry(self, run_id: str, wanted: Json) -> Json:
        from convergence.engine.retry import retry

        self._prepare_to_execute()
        asked = wire.checked(wire.RetryIn, wanted).to_request(self._tenant_of(run_id), run_id)
        retried = retry(self._service, asked)
        accepted = wire.accepted_out(retried.run, is_new=retried.is_new, by_id=True)
        return accepted.model_dump(mode="json")

    def run(self, run_id: str) -> Json:
        tenant_id = self._tenant_of(run_id)
        with self._service.database.read() as tx:
            found, steps = runs.get(tx, tenant_id, run_id), runs.steps(tx, tenant_id, run_id)
        return wire.run_with_steps(found, steps).model_dump(mode="json")

    def runs(self, tenant_id: str | None, chosen: Json, *, limit: int) -> list[Json]:
        wanted = wire.checked(wire.RunsQuery, chosen).to_filter()
        with self._service.database.read() as tx:
            if tenant_id is None:
                found = fleet.page_runs(tx, wanted, limit=limit, before=None)
            else:
                tenants.get(tx, tenant_id)
                found = runs.page(tx, tenant_id, wanted, limit=limit, before=None)
        return [wire.run_out(run).model_dump(mode="json") for run in found]

    def costs(self, tenant_id: str, question: Json) -> Json:
        from convergence.engine import reconcile
        from convergence.model.cost import Part

        self._take_home()
        asked = wire.checked(wire.CostsQuery, question)
        chosen, moment = asked.to_question(), asked.moment
        if asked.limit is None:
            bill = reconcile.bill(self._service, tenant_id, chosen, moment)
            return wire.costs_out(bill).model_dump(mode="json")
        part = Part(limit=asked.limit)
        bill = reconcile.bill_in_part(self._service, tenant_id, chosen, moment, part)
        follows = bill.following.state if bill.following else None
        return wire.costs_out(bill, follows).model_dump(mode="json")

    def export_costs(self, tenant_id: str, question: Json) -> Iterator[bytes]:
        from convergence.engine.costs import export_bill

        self._take_home()
        asked = wire.checked(wire.ExportQuery, question)
        chosen, shape = asked.to_question(), asked.shape
        file = export_bill(self._service, tenant_id, chosen, shape=shape, form=asked.format)
        yield from _pieces(file)

    def restatements(self, tenant_id: str, chosen: Json, *, limit: int) -> list[Json]:
        return findings.restated(
            self._service, tenant_id, wire.checked(wire.RestatementsQuery, chosen), limit
        )

    def reconciliation(self, tenant_id: str, chosen: Json) -> Json:
        from convergence.engine import reconcile

        self._take_home()
        month = wire.checked(wire.ReconciliationQuery, chosen).month
        found = reconcile.reconciliation(self._service, tenant_id, month)
        lacking = reconcile.incomplete_days(self._service, tenant_id)
        shared = reconcile.shared_accounts(self._service, tenant_id)
        return wire.reconciliations_out(found, lacking, shared).model_dump(mode="json")

    def lineage(self, tenant_id: str, chosen: Json, *, limit: int) -> list[Json]:
        self._take_home()
        return findings.lineage(
            self._service, tenant_id, wire.checked(wire.LineageQuery, chosen), limit
        )

    def quality(self, tenant_id: str, chosen: Json, *, limit: int) -> list[Json]:
        return findings.quality(
            self._service, tenant_id, wire.checked(wire.QualityQuery, chosen), limit
        )

    def quality_result(self, tenant_id: str, dq_result_id: str) -> Json:
        return findings.quality_result(self._service, tenant_id, dq_result_id)

    def query(self, tenant_id: str | None, sql: str) -> Json:
        from convergence.engine import costs

        self._take_home()
        return wire.result_out(costs.query(self._service, tenant_id, sql)).model_dump(mode="json")

    def explain(self, tenant_id: str | None, sql: str) -> Json:
        from convergence.engine import costs

        self._take_home()
        explained = costs.explain(self._service, tenant_id, sql)
        return wire.explain_out(explained).model_dump(mode="json")

    def export(self, tenant_id: str | None, sql: str, form: str) -> Iterator[bytes]:
        from convergence.engine import costs

        self._take_home()
        yield from _pieces(costs.export(self._service, tenant_id, sql, form))

    def is_alone(self) -> bool:
        from convergence.engine.workers import is_any_elsewhere

        return not is_any_elsewhere(self._service)

    def _prepare_to_execute(self) -> None:
        """Take the home first, so that no run is admitted that this process cannot execute; and
        open here what several threads will use.
        """
        self._take_home()
        if self.is_alone():
            self._need_files()
            _ = self._service.warehouse

    def _events(
        self, run_id: str, *, is_over: Callable[[], bool], pause: Callable[[], object]
    ) -> Iterator[Json]:
        tenant_id, after = self._tenant_of(run_id), 0
        while True:
            is_last = is_over()
            with self._service.database.read() as tx:
                found = events.page(tx, tenant_id, run_id, after=after, limit=PAGE)
            for event in found:
                yield wire.event_out(event).model_dump(mode="json")
                after = event.sequence
            if is_last and not found:
                return
            if not found:
                pause()

    def _is_live(self, run_id: str) -> bool:
        with self._service.database.read() as tx:
            return runs.get(tx, self._tenant_of(run_id), run_id).is_live

    def _take_home(self) -> None:
        if self._lock is None:
            self._lock = take_home(self._service.home)

    def _need_files(self) -> None:
        """Raises Unavailable where this process could not load."""
        from convergence.engine import agree

        agree.claim_files(self._service)
        agree.check_files(self._service)

    def _tenant_of(self, run_id: str) -> str:
        with self._service.database.read() as tx:
            tenant_id = fleet.run_tenant(tx, run_id)
        if tenant_id is None:
            raise NotFound(
                f"Pipeline run {run_id} not found",
                code="run_not_found",
                hint="cdp runs ls names the newest",
            )
        return tenant_id


def _pieces(content: BinaryIO) -> Iterator[bytes]:
    with content:
        yield from iter(lambda: content.read(PIECE), b"")
