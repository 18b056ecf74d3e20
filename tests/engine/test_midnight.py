"""Runs that cross midnight and the end of a month: each counts once, on the day it was admitted."""

import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest

from convergence.engine.execute import Executor
from convergence.engine.service import Service
from convergence.model.run import Run
from convergence.model.tenant import Limits
from convergence.store import tenants, usage
from tests.fakes import FakeClock

EVE, NEXT = date(2024, 11, 30), date(2024, 12, 1)


def test_runs_across_the_end_of_a_month_count_once(
    service: Service, clock: FakeClock, pend: Callable[..., Run]
) -> None:
    check_crossing(service, clock, pend, triggers=40)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_500_runs_across_the_end_of_a_month_count_once(
    service: Service, clock: FakeClock, pend: Callable[..., Run]
) -> None:
    check_crossing(service, clock, pend, triggers=500)


def check_crossing(
    service: Service, clock: FakeClock, pend: Callable[..., Run], *, triggers: int
) -> None:
    """Half an hour on both sides of midnight, runs beginning and ending in any order."""
    chance = random.Random(triggers)  # noqa: S311 - no secret
    clock.advance(
        seconds=(datetime(2024, 11, 30, 23, 30, tzinfo=UTC) - clock.now()).total_seconds()
    )
    wide = Limits(
        daily_limit=triggers,
        monthly_limit=triggers,
        concurrent_limit=9,
        max_team_members=1,
        max_providers=1,
    )
    with service.database.write() as tx:
        tenants.set_limits(tx, "acme", wide, now=clock.now())
    executor = Executor(service=service, worker="test")
    admitted: Counter[date] = Counter()
    failed: Counter[date] = Counter()
    open_runs: list[Run] = []
    for number in range(triggers):
        clock.advance(seconds=3600 / triggers)
        fails = chance.random() < 0.3
        act = "fail" if fails else "ok"
        head = f'variables: {{n: "{number}"}}'
        run = pend(f"step_id: a, ps_type: test.act, act: {act}", head=head)
        admitted[run.created_at.date()] += 1
        failed[run.created_at.date()] += fails
        open_runs.append(run)
        while len(open_runs) > chance.randrange(1, 9):
            ended = open_runs.pop(chance.randrange(len(open_runs)))
            executor.walk("acme", ended.run_id)
    assert set(admitted) == {EVE, NEXT}
    for run in open_runs:
        executor.walk("acme", run.run_id)
    with service.database.read() as tx:
        for day in (EVE, NEXT):
            row = usage.row(tx, "acme", day)
            assert row is not None
            assert row.pipelines_run_today == row.pipelines_run_month == admitted[day]
            assert row.pipelines_failed_today == failed[day]
            assert row.pipelines_succeeded_today == admitted[day] - failed[day]
            assert row.concurrent_pipelines_running == 0
