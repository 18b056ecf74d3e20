"""Which processes execute runs: each gives a sign of life, and is taken for dead without one.

The lease between two signs is measured by the database's clock. On SQLite there is one process,
and nobody who could take its runs.
"""

from datetime import timedelta

from convergence import __version__
from convergence.engine.service import Service
from convergence.store import workers
from convergence.store.workers import WorkerRow

BEAT_SECONDS = 5.0
LEASE = timedelta(seconds=20)
"""A worker that was not heard of for so long is dead."""


def enlist(service: Service, worker: str, *, engine: str) -> None:
    """`engine` is the version of the walk that the worker executes."""
    with service.database.write() as tx:
        workers.enlist(tx, worker, version=__version__, engine=engine)


def beat(service: Service, worker: str) -> bool:
    """A sign of life. False when it came too late: the runs may be another worker's by now."""
    lease = None if service.database.is_sqlite else LEASE
    with service.database.write() as tx:
        return workers.beat(tx, worker, lease=lease)


def retire(service: Service, worker: str) -> None:
    """Nobody needs to wait for this worker's silence: it has ended."""
    with service.database.write() as tx:
        workers.retire(tx, worker)


def others_alive(service: Service, worker: str) -> dict[str, WorkerRow]:
    """The living workers of other processes; the dead are buried. On SQLite there are none."""
    lease = timedelta(0) if service.database.is_sqlite else LEASE
    with service.database.write() as tx:
        workers.bury(tx, lease, but=worker)
        return {row.worker: row for row in workers.living(tx, lease) if row.worker != worker}


def is_any_elsewhere(service: Service) -> bool:
    """Whether a worker in another place lives: on SQLite the home's holder is the only one."""
    if service.database.is_sqlite:
        return False
    with service.database.read() as tx:
        return bool(workers.living(tx, LEASE))
