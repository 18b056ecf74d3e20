"""A process that dies in a load: the next start ends the run, and the rows are right."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from convergence.engine import costs, serve
from convergence.engine.launch import launch
from convergence.engine.service import Service
from convergence.model.load import LoadKey
from convergence.model.run import LaunchRequest, Run, Status
from convergence.outside.clock import SystemClock
from convergence.settings.fields import Settings
from convergence.store import loads, runs
from convergence.wiring import build
from tests.conftest import EXPORT

KEY = LoadKey(table="billing_cost_daily", day=date(2024, 11, 1), source=EXPORT)
POINTS = [
    "before_stage",
    "after_stage",
    "after_totals",
    "before_publish",
    "after_publish",
    "after_discard",
]


@pytest.mark.kills
@pytest.mark.parametrize("point", POINTS)
def test_a_run_whose_process_is_killed_ends_with_the_right_rows(
    service: Service, export: Callable[..., Path], point: str
) -> None:
    service.clock = SystemClock()
    export(("2024-11-01", "1.5", "-0.25", "202411"), ("2024-11-01", "2", "", "202411"))
    request = LaunchRequest(
        tenant_id="acme", template="gcp/cost/cost_billing", run_date=date(2024, 11, 1)
    )
    run = launch(service, request).run
    home = service.config.home
    service.close()
    with _started_again_after_death(home, point) as again:
        ended = _wait(again, run.run_id)
        assert ended.status is Status.COMPLETED
        sql = "SELECT COUNT(*), SUM(cost), SUM(credits_total) FROM billing_cost_daily"
        assert costs.query(again, "acme", sql).rows == [(2, Decimal("3.5"), Decimal("-0.25"))]
        published = costs.query(again, "acme", "SELECT COUNT(*) FROM x_meta_loads").rows
        assert published == [(1,)]
        with again.database.read() as tx:
            assert loads.published(tx, "acme", KEY) is not None
            assert loads.staged(tx, "acme", KEY) == []


@pytest.mark.kills
@pytest.mark.parametrize("point", ["after_publish_together", "before_settle"])
def test_a_sync_whose_process_is_killed_ends_with_every_day_once(
    service: Service, export: Callable[..., Path], point: str
) -> None:
    service.clock = SystemClock()
    days = ("2024-10-01", "2024-10-02", "2024-10-03")
    export(*((day, "1.5", "-0.25", "202410") for day in days))
    request = LaunchRequest(
        tenant_id="acme", template="gcp/cost/cost_sync", run_date=date(2024, 11, 1)
    )
    run = launch(service, request).run
    home = service.config.home
    service.close()
    with _started_again_after_death(home, point) as again:
        ended = _wait(again, run.run_id)
        assert ended.status is Status.COMPLETED, ended.error
        sql = "SELECT ingestion_date, COUNT(*), SUM(cost) FROM billing_cost_daily GROUP BY 1"
        found = costs.query(again, "acme", f"{sql} ORDER BY 1").rows
        assert [(str(day), rows, cost) for day, rows, cost in found] == [
            (day, 1, Decimal("1.5")) for day in days
        ]
        assert costs.query(again, "acme", "SELECT COUNT(*) FROM x_meta_loads").rows == [(3,)]


@contextmanager
def _started_again_after_death(home: Path, point: str) -> Iterator[Service]:
    """The service on a home where a process died at a point of its run."""
    script = Path(__file__).with_name("killed.py")
    died = subprocess.run(
        [sys.executable, script, home, point],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
        timeout=40,
    )
    assert died.returncode == -signal.SIGKILL
    again = build(Settings(home=home))
    serving = serve.start(again, with_worker=True)
    try:
        yield again
    finally:
        serving.stop()


def _wait(service: Service, run_id: str) -> Run:
    for _ in range(300):
        with service.database.read() as tx:
            run = runs.get(tx, "acme", run_id)
            if not run.is_live:
                return run
        time.sleep(0.1)
    raise AssertionError(f"run {run_id} is still live after 30 s")
