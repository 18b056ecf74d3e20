"""Bring back runs whose worker is gone: nothing that was accepted is lost or stays for ever."""

from collections.abc import Set

from convergence.engine.service import Service
from convergence.engine.work import DurableQueue
from convergence.outside.logs import Log
from convergence.store import fleet

WAITING = frozenset({"ENQUEUED", "DELAYED"})

log = Log(__name__)


def sweep(service: Service, queue: DurableQueue, *, alive: Set[str]) -> int:
    """Put back every live run that no living worker has; how many there were.

    A run that waits in the queue is left there, one that a worker of `alive` holds is left to it.
    Putting a run back that has just ended is harmless: the claim finds it over.
    """
    with service.database.read() as tx:
        live = [run.run_id for run in fleet.live_runs(tx)]
    if not live:
        return 0
    places = queue.places(live)
    lost = 0
    for run_id in live:
        place = places.get(run_id)
        if place is None or place.status in WAITING:
            continue
        if place.status == "PENDING" and place.worker in alive:
            continue
        log.warning("run has lost its worker, putting it back", run_id=run_id)
        queue.put_back(run_id)
        lost += 1
    return lost
