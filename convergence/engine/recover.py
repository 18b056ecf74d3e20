"""Bring back runs whose worker is gone: nothing that was accepted is lost or stays for ever."""

from collections.abc import Set
from dataclasses import dataclass, field

from convergence.engine import workers
from convergence.engine.execute import Executor
from convergence.engine.service import Service
from convergence.engine.work import DurableQueue, Place
from convergence.outside.logs import Log
from convergence.store import fleet

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

    def sweep(self) -> int:
        """Put back every run that no living worker has; how many there were.

        A run that nobody executes holds no lease either. Putting one back that has just ended is
        harmless: the claim finds it over.
        """
        with self.service.database.read() as tx:
            live, leased = fleet.live_runs(tx), fleet.leased_runs(tx)
        places = self.queue.places(list(live))
        others = workers.others_alive(self.service, self.executor.worker)
        idle = {id_ for id_ in live if not self._is_executed(id_, places.get(id_), others)}
        waiting = {id_ for id_ in idle if id_ in places and places[id_].status in WAITING}
        self._unstarted = {id_ for id_ in live if self._is_unstarted(id_, places.get(id_))}
        if held := idle & leased:
            with self.service.database.write() as tx:
                fleet.free_leases(tx, held)
        for run_id in idle - waiting:
            self._put_back(live[run_id], run_id, place=places.get(run_id))
        return len(idle - waiting)

    def _is_executed(self, run_id: str, place: Place | None, others: Set[str]) -> bool:
        if place is None or place.status != GIVEN:
            return False
        if place.worker != self.executor.worker:
            return place.worker in others
        return not (self._is_unstarted(run_id, place) and run_id in self._unstarted)

    def _is_unstarted(self, run_id: str, place: Place | None) -> bool:
        is_mine = place is not None and (place.status, place.worker) == (
            GIVEN,
            self.executor.worker,
        )
        return is_mine and run_id not in self.executor.tokens

    def _put_back(self, tenant_id: str, run_id: str, *, place: Place | None) -> None:
        """One that cannot be put back holds up no other: the next look tries again."""
        where = place.status if place else "nowhere"
        log.warning("run is executed by nobody, putting it back", run_id=run_id, was=where)
        try:
            if place is None:
                with self.service.database.write() as tx:
                    self.queue.enqueue(tx, tenant_id, run_id)
            else:
                self.queue.put_back(run_id)
        except Exception:
            log.exception("run not put back", run_id=run_id)
