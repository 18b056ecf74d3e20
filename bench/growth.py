"""Whether work grows with what is already there, on SQLite, or with a URL on that PostgreSQL.

    python bench/growth.py [URL]

The time from a trigger to the start of its first step, and that of a page of runs, with no finished
runs in the tables and with 100,000; and one run for each of 250 and of 1,000 tenants, triggered
together, by tenant. Each is the ratio of two measurements of one run of this program. Runs and
tenants are written straight into the store, the tenants without a dataset: nothing is published.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from statistics import median

import sqlalchemy as sa
from peer_cdp import Noop, prepare, trigger, wait_for_all

from convergence.engine import serve
from convergence.engine.launch import launch
from convergence.engine.service import Service
from convergence.model.run import LaunchRequest, RunFilter
from convergence.store import runs, tenants

FINISHED = 100_000
SINGLES = 60
FEW, MANY = 250, 1000


def main(url: str, home: Path) -> None:
    noop = Noop()
    service = prepare(url, home, {"bench.noop": noop})
    serve.LEDGER_SECONDS = 10**6
    serving = serve.start(service, with_worker=True)
    before = start_latency(service, noop, 0), page_time(service)
    fill(service)
    after = start_latency(service, noop, SINGLES), page_time(service)
    for name, empty, full in zip(("start", "page of 50 runs"), before, after, strict=True):
        shown = f"{empty * 1000:7.1f} ms empty {full * 1000:7.1f} ms with {FINISHED:,} finished"
        print(f"{name:16} {shown}   ratio {full / empty:.2f}")
    few, many = (midnight(service, number) for number in (FEW, MANY))
    for name, less, more in zip(("time", "CPU"), few, many, strict=True):
        each = f"{less / FEW * 1000:.1f} and {more / MANY * 1000:.1f} ms a run"
        print(f"{name:16} {FEW} tenants {less:.1f} s, {MANY} tenants {more:.1f} s: {each}")
    serving.has_files = False
    serving.stop()


def start_latency(service: Service, noop: Noop, first: int) -> float:
    """Seconds, the median."""
    seconds = []
    for number in range(first, first + SINGLES):
        asked = time.time()
        run_id = trigger(service, number)
        wait_for_all(service)
        seconds.append(noop.began[run_id] - asked)
    return median(seconds)


def page_time(service: Service) -> float:
    """Seconds of processor time, the median: on a busy machine the clock tells of the others."""
    seconds = []
    for _ in range(SINGLES):
        begun = time.thread_time()
        with service.database.read() as tx:
            runs.page(tx, "acme", RunFilter(), limit=50, before=None)
        seconds.append(time.thread_time() - begun)
    return median(seconds)


def fill(service: Service) -> None:
    """Copies of a finished run and of its steps, in the tables of the store and of the queue."""
    with service.database.read() as tx:
        (model,) = runs.page(tx, "acme", RunFilter(), limit=1, before=None)
    copy_rows(service, "pipeline_runs", "run_id", model.run_id)
    copy_rows(service, "step_logs", "run_id", model.run_id)
    copy_rows(service, "workflow_status", "workflow_uuid", model.run_id, schema="dbos")


def copy_rows(
    service: Service, name: str, key: str, run_id: str, *, schema: str | None = None
) -> None:
    where = None if service.database.is_sqlite else schema
    numbers = sa.select(sa.literal(1).label("i")).cte("numbers", recursive=True)
    more = sa.select(numbers.c.i + 1).where(numbers.c.i < FINISHED)
    numbers = numbers.union_all(more)
    copy_id = sa.literal("copy").concat(sa.cast(numbers.c.i, sa.String))
    with service.database.write() as tx:
        table = sa.Table(name, sa.MetaData(), autoload_with=tx.connection, schema=where)
        values = [copy_id if column.name == key else column for column in table.c]
        each = table.join(numbers, sa.true())
        copies = sa.select(*values).select_from(each).where(table.c[key] == run_id)
        names = [column.name for column in table.c]
        tx.connection.execute(table.insert().from_select(names, copies))


def midnight(service: Service, number: int) -> tuple[float, float]:
    """Seconds, and seconds of this process's CPU, for one run of each of so many tenants, all of
    them triggered as fast as can be.
    """
    names = [f"n{number}t{tenant}" for tenant in range(number)]
    add_tenants(service, names)
    day = date(2024, 1, 1) + timedelta(days=number)
    begun, cpu = time.perf_counter(), time.process_time()
    for name in names:
        launch(service, LaunchRequest(tenant_id=name, template="bench/engines/noop", run_date=day))
    wait_for_all(service, pause=0.5)
    return time.perf_counter() - begun, time.process_time() - cpu


def add_tenants(service: Service, names: Sequence[str]) -> None:
    """Like the one that there is."""
    with service.database.write() as tx:
        like, limits = tenants.get(tx, "acme"), tenants.limits(tx, "acme")
        for name in names:
            tenant = replace(like, tenant_id=name, dataset=name)
            tenants.create(tx, tenant, limits, now=service.clock.now())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        given = sys.argv[1] if len(sys.argv) > 1 else f"sqlite:///{folder}/control.db"
        main(given, Path(folder))
