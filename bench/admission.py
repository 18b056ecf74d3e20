"""Triggers per second through the engine's admission, embedded, workers off.

    python bench/admission.py [callers] [triggers]

Beside it, as the ratio's other side: the same number of bare transactions that insert one row into
a table of the same database, with the same callers.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from statistics import quantiles

from sqlalchemy import text

from convergence.engine.launch import launch
from convergence.engine.onboard import Application, onboard
from convergence.engine.service import Service
from convergence.model.run import LaunchRequest
from convergence.model.source import Grant, Kind, Source
from convergence.model.tenant import Limits
from convergence.settings.fields import Settings
from convergence.store import sources, tenants
from convergence.wiring import build

TENANTS = 20


def main(callers: int, triggers: int) -> None:
    with tempfile.TemporaryDirectory() as home:
        service = build(Settings(home=Path(home)))
        prepare(service)
        trigger(service, triggers)  # a server has opened its queue before the first caller comes
        admitted = timed(callers, triggers, lambda number: trigger(service, number))
        with service.database.write() as tx:
            tx.connection.execute(text("CREATE TABLE bare (number INTEGER PRIMARY KEY, t TEXT)"))
        bare = timed(callers, triggers, lambda number: insert(service, number))
        service.close()
    for name, seen in {"admission": admitted, "bare insert": bare}.items():
        print(f"{name:12} {seen}")
    print(f"admission / bare insert: {admitted.rate / bare.rate:.2f}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Acts per second; the median and the 99th percentile of one, and its CPU time, in ms.

    The CPU time tells on a busy machine what the rate would be on an idle one.
    """

    rate: float
    p50: float
    p99: float
    cpu: float

    def __str__(self) -> str:
        return (
            f"{self.rate:7.0f}/s   p50 {self.p50:6.1f} ms   p99 {self.p99:6.1f} ms"
            f"   CPU {self.cpu:5.2f} ms"
        )


def prepare(service: Service) -> None:
    limits = Limits(
        daily_limit=10**6,
        monthly_limit=10**6,
        concurrent_limit=10**6,
        max_team_members=1,
        max_providers=1,
    )
    names = [f"tenant{number:02}" for number in range(TENANTS)]
    for name in names:
        onboard(
            service,
            Application(tenant_id=name, company_name=name, admin_email="a@example.com"),
        )
    with service.database.write() as tx:
        now = service.clock.now()
        for name in names:
            tenants.set_limits(tx, name, limits, now=now)
        source = Source(
            table="p.d.gcp_billing_export_v1_X",
            files="/nowhere/*.csv",
            kind=Kind.GCP_STANDARD,
            grants=tuple(Grant(tenant_id=name) for name in names),
        )
        sources.put(tx, source, now=now)


def trigger(service: Service, number: int) -> None:
    request = LaunchRequest(
        tenant_id=f"tenant{number % TENANTS:02}",
        template="gcp/cost/cost_billing",
        run_date=date(2010, 1, 1) + timedelta(days=number // TENANTS),
    )
    if not launch(service, request).is_new:
        raise AssertionError("every trigger of the measurement is a new run")


def insert(service: Service, number: int) -> None:
    with service.database.write() as tx:
        tx.connection.execute(
            text("INSERT INTO bare VALUES (:number, :t)"), {"number": number, "t": "x" * 3000}
        )


def timed(callers: int, count: int, act: Callable[[int], None]) -> Seen:
    def one(number: int) -> float:
        started = time.perf_counter()
        act(number)
        return time.perf_counter() - started

    started, cpu_started = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(callers) as pool:
        seconds = list(pool.map(one, range(count)))
    elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu_started
    cuts = quantiles(seconds, n=100)
    return Seen(rate=count / elapsed, p50=cuts[49] * 1e3, p99=cuts[98] * 1e3, cpu=cpu / count * 1e3)


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(*(given + [16, 4000][len(given) :]))
