"""Usage equals the runs at every moment, whatever happens in whatever order."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from convergence.engine.cancel import cancel
from convergence.engine.execute import Executor
from convergence.engine.launch import launch
from convergence.engine.onboard import onboard
from convergence.engine.retry import retry
from convergence.engine.service import Service
from convergence.errors import Conflict, QuotaExceeded
from convergence.library import Library
from convergence.model.run import LaunchRequest, RetryRequest, Run, RunFilter, Status
from convergence.settings.fields import Settings
from convergence.steps.base import step_models
from convergence.store import runs, tenants, usage
from convergence.wiring import build
from tests.conftest import application, postgres_url
from tests.engine.conftest import Act
from tests.fakes import FakeClock

ACTS = ("ok", "fail", "break")
DAILY, CONCURRENT = 8, 3
numbers = count()


class Story:
    """A tenant's month. Each event is told which of what there is it is about."""

    def __init__(self, service: Service, clock: FakeClock) -> None:
        self.service = service
        self.clock = clock
        self.tenant_id = f"tenant_{next(numbers)}"
        onboard(service, application(self.tenant_id, plan="SCALE"))
        with service.database.write() as tx:
            limits = replace(
                tenants.limits(tx, self.tenant_id),
                daily_limit=DAILY,
                concurrent_limit=CONCURRENT,
            )
            tenants.set_limits(tx, self.tenant_id, limits, now=clock.now())

    def launch(self, which: int) -> None:
        request = LaunchRequest(
            tenant_id=self.tenant_id,
            template="test/engine/steps",
            run_date=date(2024, 10, which % 5 + 1),
            variables={"act": ACTS[which % len(ACTS)]},
        )
        with suppress(QuotaExceeded):
            launch(self.service, request)

    def walk(self, which: int) -> None:
        if run := self._one_of(which, is_live=True):
            Executor(service=self.service, worker="w").walk(self.tenant_id, run.run_id)

    def die(self, which: int) -> None:
        """A worker claims a run and is never heard of again."""
        if run := self._one_of(which, is_live=True):
            Executor(service=self.service, worker="dead").begin(self.tenant_id, run.run_id)

    def cancel(self, which: int) -> None:
        if run := self._one_of(which, is_live=True):
            for _ in range(2):
                cancel(self.service, self.tenant_id, run.run_id)

    def retry(self, which: int) -> None:
        if run := self._one_of(which, is_live=False):
            with suppress(QuotaExceeded, Conflict):
                retry(
                    self.service,
                    RetryRequest(
                        tenant_id=self.tenant_id, run_id=run.run_id, is_whole=which % 2 == 0
                    ),
                )

    def sleep(self, which: int) -> None:
        self.clock.advance(hours=which % 9 + 1)

    def runs(self) -> list[Run]:
        with self.service.database.read() as tx:
            return runs.page(tx, self.tenant_id, RunFilter(), limit=1000, before=None)

    def check(self) -> None:
        found = self.runs()
        if not found:
            return
        first, today = min(run.created_at for run in found).date(), self.clock.now().date()
        days = [first + timedelta(days=n) for n in range((today - first).days + 1)]
        with self.service.database.read() as tx:
            rows = {day: usage.row(tx, self.tenant_id, day) for day in days}
            use = usage.use(tx, self.tenant_id, today)
        assert use.live == sum(run.is_live for run in found) <= CONCURRENT
        last = [row for row in rows.values() if row is not None][-1]
        assert last.concurrent_pipelines_running == use.live
        for day, row in rows.items():
            of_day = [run for run in found if run.created_at.date() == day]
            counted = Counter(run.status for run in of_day)
            assert (row is not None) or not counted
            if row is None:
                continue
            assert row.pipelines_run_today == counted.total() <= DAILY
            assert row.pipelines_succeeded_today == counted[Status.COMPLETED]
            assert row.pipelines_failed_today == counted[Status.FAILED]
            assert row.pipelines_cancelled_today == counted[Status.CANCELLED]
            assert row.pipelines_run_month == sum(
                run.created_at.date() <= day and run.created_at.month == day.month for run in found
            )
            assert row.max_concurrent_reached <= CONCURRENT
            assert row.last_pipeline_started_at == max(
                (run.created_at for run in of_day), default=None
            )

    def _one_of(self, which: int, *, is_live: bool) -> Run | None:
        found = [run for run in self.runs() if run.is_live == is_live]
        return found[which % len(found)] if found else None


EVENTS: Sequence[Callable[[Story, int], None]] = (
    *[Story.launch] * 5,
    *[Story.walk] * 3,
    *[Story.cancel, Story.retry] * 2,
    Story.die,
    Story.sleep,
)
histories = st.lists(
    st.tuples(st.sampled_from(EVENTS), st.integers(0, 59)), min_size=10, max_size=40
)


def tell(
    service: Service, clock: FakeClock, history: list[tuple[Callable[..., None], int]]
) -> None:
    story = Story(service, clock)
    for happens, which in history:
        happens(story, which)
        story.check()
    while any(run.is_live for run in story.runs()):
        story.walk(0)
    story.check()


@pytest.fixture
def told(service: Service, act: Act, tmp_path: Path) -> Service:
    (tmp_path / "configs/test/engine/steps.yml").write_text(
        'pipeline_id: "{tenant_id}-test"\ndescription: a test\nvariables: {act: ok}\n'
        'steps:\n  - {step_id: a, ps_type: test.act, act: "{act}"}\n'
    )
    return service


@pytest.fixture
def told_on_postgresql(
    request: pytest.FixtureRequest, told: Service, clock: FakeClock, tmp_path: Path
) -> Iterator[Service]:
    for url in postgres_url(request):
        built = build(Settings(home=tmp_path / "other", database_url=SecretStr(url)))
        built.clock = clock
        built.step_types = told.step_types
        built.library = Library(tmp_path / "configs", step_models(built.step_types))
        yield built
        built.close()


@given(history=histories)
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_usage_equals_the_runs_after_any_history(
    told: Service, clock: FakeClock, history: list[tuple[Callable[..., None], int]]
) -> None:
    tell(told, clock, history)


@pytest.mark.postgres
@given(history=histories)
@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_usage_equals_the_runs_on_postgresql_too(
    told_on_postgresql: Service, clock: FakeClock, history: list[tuple[Callable[..., None], int]]
) -> None:
    tell(told_on_postgresql, clock, history)
