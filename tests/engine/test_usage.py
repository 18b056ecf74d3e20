"""Usage equals the runs, whatever happened in whatever order."""

import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from convergence.engine.execute import Executor
from convergence.engine.launch import launch
from convergence.engine.onboard import Onboarded
from convergence.engine.service import Service
from convergence.errors import QuotaExceeded
from convergence.model.run import LaunchRequest, Run, RunFilter, Status
from convergence.store import runs, tenants, usage
from tests.engine.conftest import Act
from tests.fakes import FakeClock

ACTS = ["ok", "fail", "break"]


class Story:
    """A tenant's month as chance has it."""

    def __init__(self, service: Service, clock: FakeClock, seed: int) -> None:
        self.service = service
        self.clock = clock
        self.chance = random.Random(seed)  # noqa: S311 - an order of events, no secret
        self.live: list[Run] = []

    def launch(self) -> None:
        request = LaunchRequest(
            tenant_id="acme",
            template="test/engine/steps",
            run_date=date(2024, 10, self.chance.randint(1, 5)),
            variables={"act": self.chance.choice(ACTS)},
        )
        with suppress(QuotaExceeded):
            launched = launch(self.service, request)
            self.live += [launched.run] if launched.is_new else []

    def walk(self) -> None:
        if self.live:
            run = self.live.pop(self.chance.randrange(len(self.live)))
            Executor(service=self.service, worker="w").walk("acme", run.run_id)

    def die(self) -> None:
        """A worker claims a run and is never heard of again."""
        if self.live:
            run = self.chance.choice(self.live)
            if not Executor(service=self.service, worker="dead").begin("acme", run.run_id):
                self.live.remove(run)

    def cancel(self) -> None:
        if self.live:
            with self.service.database.write() as tx:
                run_id = self.chance.choice(self.live).run_id
                runs.request_cancel(tx, "acme", run_id, now=self.clock.now())

    def sleep(self) -> None:
        self.clock.advance(hours=self.chance.randint(1, 9))


@pytest.mark.parametrize("seed", range(5))
def test_usage_equals_the_runs_after_any_sequence(
    service: Service, tenant: Onboarded, act: Act, clock: FakeClock, tmp_path: Path, seed: int
) -> None:
    (tmp_path / "configs/test/engine/steps.yml").write_text(
        'pipeline_id: "{tenant_id}-test"\ndescription: a test\nvariables: {act: ok}\n'
        'steps:\n  - {step_id: a, ps_type: test.act, act: "{act}"}\n'
    )
    with service.database.write() as tx:
        limits = replace(tenants.limits(tx, "acme"), daily_limit=8, concurrent_limit=3)
        tenants.set_limits(tx, "acme", limits, now=clock.now())
    story = Story(service, clock, seed)
    acts: list[Callable[[], None]] = [
        story.launch,
        story.walk,
        story.die,
        story.cancel,
        story.sleep,
    ]
    for happens in story.chance.choices(acts, weights=[6, 4, 2, 1, 1], k=60):
        happens()
    _check(service, clock)
    while story.live:
        story.walk()
    _check(service, clock)


def _check(service: Service, clock: FakeClock) -> None:
    with service.database.read() as tx:
        found = runs.page(tx, "acme", RunFilter(), limit=1000, before=None)
        first, today = min(run.created_at for run in found).date(), clock.now().date()
        days = [first + timedelta(days=n) for n in range((today - first).days + 1)]
        rows = {day: usage.row(tx, "acme", day) for day in days}
        live = usage.use(tx, "acme", today).live
    assert live == sum(run.is_live for run in found) <= 3
    for day, row in rows.items():
        counted = Counter(run.status for run in found if run.created_at.date() == day)
        assert (row is not None) or not counted
        if row is not None:
            assert row.pipelines_run_today == counted.total() <= 8
            assert row.pipelines_succeeded_today == counted[Status.COMPLETED]
            assert row.pipelines_failed_today == counted[Status.FAILED]
            assert row.pipelines_cancelled_today == counted[Status.CANCELLED]
            assert row.max_concurrent_reached <= 3
