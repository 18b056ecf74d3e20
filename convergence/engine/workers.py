"""Which processes execute runs: each gives a sign of life, and is taken for dead without one."""

from datetime import timedelta

from convergence import __version__
from convergence.engine.service import Service
from convergence.store import fleet

BEAT_SECONDS = 5.0
SILENCE = timedelta(seconds=20)
"""A worker that was not heard of for so long is dead."""


def beat(service: Service, worker: str) -> None:
    with service.database.write() as tx:
        fleet.beat(tx, worker, version=__version__, now=service.clock.now())


def retire(service: Service, worker: str) -> None:
    """Nobody needs to wait for this worker's silence: it has ended."""
    with service.database.write() as tx:
        fleet.retire(tx, worker)


def others_alive(service: Service, worker: str) -> frozenset[str]:
    """The living workers of other processes. On SQLite, which has one process, there are none."""
    if service.database.is_sqlite:
        return frozenset()
    since = service.clock.now() - SILENCE
    with service.database.read() as tx:
        return frozenset(
            each.worker
            for each in fleet.workers(tx)
            if each.seen_at > since and each.worker != worker
        )
