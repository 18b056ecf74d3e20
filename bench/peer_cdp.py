"""This engine: two steps of nothing, with all that a run keeps. `peer_cdp.py URL HOME RUNS`."""

import os
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

from figures import WORKERS, idle, rate, starts, tell
from pydantic import SecretStr

from convergence.engine import serve
from convergence.engine.launch import launch
from convergence.engine.onboard import Application, onboard
from convergence.engine.service import Service
from convergence.library import Library
from convergence.model.run import LaunchRequest
from convergence.model.tenant import Limits
from convergence.settings.fields import Settings
from convergence.steps.base import Report, StepContext, StepType, step_models
from convergence.steps.base import Settings as StepSettings
from convergence.store import fleet, tenants
from convergence.wiring import build

TEMPLATE = """
pipeline_id: "{tenant_id}-noop"
description: Two steps of nothing
variables: {n: "0"}
steps:
  - {step_id: first, ps_type: bench.noop}
  - {step_id: second, ps_type: bench.noop}
"""
CALLERS = 4


class Nothing(StepSettings):
    needs_warehouse: ClassVar[bool] = False


class Noop:
    """Keeps when each run's first step began."""

    settings: ClassVar[type[StepSettings]] = Nothing
    unfilled: ClassVar[tuple[tuple[str, ...], ...]] = ()

    def __init__(self) -> None:
        self.began: dict[str, float] = {}

    def run(self, _settings: Nothing, context: StepContext) -> Report:
        self.began.setdefault(context.run_id, time.time())
        return Report()


def main(url: str, home: Path, runs: int) -> None:
    noop = Noop()
    service = prepare(url, home, {"bench.noop": noop})
    trigger(service, runs)  # a server has opened its queue before the first caller comes
    with ThreadPoolExecutor(CALLERS) as pool:
        triggers = rate(runs, lambda: list(pool.map(lambda n: trigger(service, n), range(runs))))
    serving = serve.start(service, with_worker=True)
    passed = rate(runs, lambda: wait_for_all(service, pause=0.1))

    def one(number: int) -> float:
        run_id = trigger(service, runs + 1 + number)
        wait_for_all(service)
        return noop.began[run_id]

    tell(triggers=triggers, runs=passed, **starts(one), **idle([os.getpid()]))
    serving.stop()


def prepare(url: str, home: Path, step_types: Mapping[str, StepType]) -> Service:
    service = build(
        Settings(home=home / "home", database_url=SecretStr(url), worker_concurrency=WORKERS)
    )
    (home / "configs/bench/engines").mkdir(parents=True)
    (home / "configs/bench/engines/noop.yml").write_text(TEMPLATE)
    service.step_types = step_types
    service.library = Library(home / "configs", step_models(step_types))
    onboard(service, Application(tenant_id="acme", company_name="a", admin_email="a@example.com"))
    many = Limits(
        daily_limit=10**6,
        monthly_limit=10**6,
        concurrent_limit=10**6,
        max_team_members=1,
        max_providers=1,
    )
    with service.database.write() as tx:
        tenants.set_limits(tx, "acme", many, now=service.clock.now())
    return service


def trigger(service: Service, number: int) -> str:
    request = LaunchRequest(
        tenant_id="acme", template="bench/engines/noop", variables={"n": str(number)}
    )
    return launch(service, request).run.run_id


def wait_for_all(service: Service, *, pause: float = 0.01) -> None:
    """Looking takes time as well, and more with each run that is still live."""
    while True:
        with service.database.read() as tx:
            if not fleet.live_runs(tx):
                return
        time.sleep(pause)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
