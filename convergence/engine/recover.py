"""Bring back runs whose worker is gone: nothing that was accepted is lost or stays for ever."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from convergence.engine import workers
from convergence.engine.execute import Executor
from convergence.engine.service import Service
from convergence.engine.work import ENGINE_VERSION, DurableQueue, Place
from convergence.outside.logs import Log
from convergence.store import fleet, runs
from convergence.store.workers import WorkerRow

WAITING = frozenset({"ENQUEUED", "DELAYED"})
GIVEN = "PENDING"
"""The queue's word for a run that it gave to a worker."""

log = Log(__name__)


@dataclass(kw_only=True)
class Sweeper:
    """Looks through the live runs, again and again, for those that nobody executes.

    `_unstarted` were given to this process, and not under way in it, when it last looked. Starting
    takes a moment, but not from one look to the next.
    """

    service: Service
    queue: DurableQueue
    executor: Executor
    _unstarted: Set[str] = field(default=frozenset())

    def sweep(self) -> list[str]:
        """Put back every run that no living worker has; whose each was. One process at a time
        does it: who finds another at it leaves it to that one.
        """
        with self.service.database.alone("sweep") as is_alone:
            return self._sweep() if is_alone else []

    def hand_over(self) -> int:
        """Put back what this worker, which has stopped, still had; how many runs there were."""
        with self.service.database.read() as tx:
            live = fleet.live_runs(tx)
        places = self.queue.places(list(live))
        mine = [id_ for id_ in live if id_ in places and self._is_mine(places[id_])]
        for run_id in mine:
            self._put_back(live[run_id], run_id, place=places[run_id])
        return len(mine)

    def _sweep(self) -> list[str]:
        """A run that nobody executes holds no lease either. Putting one back that has just ended
        is harmless: the claim finds it over.
        """
        with self.service.database.read() as tx:
            live, leased = fleet.live_runs(tx), fleet.leased_runs(tx)
        places = self.queue.places(list(live))
        others = workers.others_alive(self.service, self.executor.worker)
        engines = {ENGINE_VERSION, *(other.engine for other in others.values())}
        idle = {id_ for id_ in live if not self._is_executed(id_, places.get(id_), others)}
        waiting = {id_ for id_ in idle if id_ in places and _waits(places[id_], engines)}
        self._unstarted = {id_ for id_ in live if self._is_unstarted(id_, places.get(id_))}
        if held := idle & leased:
            with self.service.database.write() as tx:
                fleet.free_leases(tx, held)
        for run_id in idle - waiting:
            self._put_back(live[run_id], run_id, place=places.get(run_id))
        return [live[run_id] for run_id in idle - waiting]

    def _is_executed(
        self, run_id: str, place: Place | None, others: Mapping[str, WorkerRow]
    ) -> bool:
        if place is None or place.status != GIVEN:
            return False
        if not self._is_mine(place):
            return place.worker in others
        return not (self._is_unstarted(run_id, place) and run_id in self._unstarted)

    def _is_unstarted(self, run_id: str, place: Place | None) -> bool:
        is_mine = place is not None and self._is_mine(place)
        return is_mine and run_id not in self.executor.tokens

    def _is_mine(self, place: Place) -> bool:
        return (place.status, place.worker) == (GIVEN, self.executor.worker)

    def _put_back(self, tenant_id: str, run_id: str, *, place: Place | None) -> None:
        """One that cannot be put back holds up no other: the next look tries again."""
        where = place.status if place else "nowhere"
        log.warning("run is executed by nobody, putting it back", run_id=run_id, was=where)
        try:
            with self.service.database.write() as tx:
                runs.revoke(tx, tenant_id, run_id, now=self.service.clock.now())
                run = runs.get(tx, tenant_id, run_id)
                if place is None:
                    self.queue.enqueue(tx, run)
            if place is not None:
                self.queue.put_back(run)
        except Exception:
            log.exception("run not put back", run_id=run_id)


def _waits(place: Place, engines: Set[str]) -> bool:
    """Whether it is in the queue for workers of a version that there are."""
    return place.status in WAITING and place.version in engines
