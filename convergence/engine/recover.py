"""Bring back runs whose worker is gone: nothing that was accepted is lost or stays for ever."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime

from convergence.engine import record, workers
from convergence.engine.execute import Executor
from convergence.engine.service import Service
from convergence.engine.work import ENGINE_VERSION, DurableQueue, Place
from convergence.model.run import Run, Status
from convergence.outside.logs import Log
from convergence.store import fleet, runs
from convergence.store.database import WriteTx
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
            lost = self._look() if is_alone else []
        return [each.tenant_id for each in lost if self._put_back_alone(each)]

    def hand_over(self) -> int:
        """Put back what this worker, which has stopped, still had; how many runs there were."""
        with self.service.database.read() as tx:
            live = fleet.live_runs(tx)
        places = self.queue.places(list(live))
        mine = [
            _Lost(run_id=run_id, tenant_id=live[run_id], place=place)
            for run_id, place in places.items()
            if place.worker == self.executor.worker and place.status not in WAITING
        ]
        return sum(self._put_back(each, is_handed_over=True) for each in mine)

    def _look(self) -> "list[_Lost]":
        """Runs that nobody executes, and that do not wait either. They hold no lease."""
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
        return [
            _Lost(run_id=run_id, tenant_id=live[run_id], place=places.get(run_id))
            for run_id in idle - waiting
        ]

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

    def _put_back_alone(self, lost: "_Lost") -> bool:
        """A lock for each: held over all of them, it would be cut off as idle by PostgreSQL."""
        with self.service.database.alone("sweep") as is_alone:
            return is_alone and self._is_lost(lost) and self._put_back(lost)

    def _is_lost(self, lost: "_Lost") -> bool:
        """Whether it still is: another process may have put it back meanwhile."""
        return self.queue.places([lost.run_id]).get(lost.run_id) == lost.place

    def _put_back(self, lost: "_Lost", *, is_handed_over: bool = False) -> bool:
        """Whether it was; one that has just ended is not. One that cannot be put back holds up no
        other: the next look tries again.
        """
        try:
            with self.service.database.write() as tx:
                run = self._revoked(tx, lost, is_handed_over=is_handed_over)
            if run.is_live and lost.place is not None:
                self.queue.put_back(run)
        except Exception:
            log.exception("run not put back", run_id=lost.run_id)
            return False
        if run.is_live:
            where = lost.place.status if lost.place else "nowhere"
            log.warning("run is executed by nobody, put back", run_id=lost.run_id, was=where)
        return run.is_live

    def _revoked(self, tx: WriteTx, lost: "_Lost", *, is_handed_over: bool) -> Run:
        """The run, which is no worker's any more, and in the queue if that had lost it."""
        revoked = runs.revoke(tx, lost.tenant_id, lost.run_id, now=self.service.clock.now())
        if revoked is not None and is_handed_over:
            _let_wait(tx, revoked, now=self.service.clock.now())
        run = revoked or runs.get(tx, lost.tenant_id, lost.run_id)
        if run.is_live and lost.place is None:
            self.queue.enqueue(tx, run)
        return run


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lost:
    """A run that nobody executes, and where the queue had it."""

    run_id: str
    tenant_id: str
    place: Place | None


def _let_wait(tx: WriteTx, run: Run, *, now: datetime) -> None:
    """Its steps were broken off in good order, which is no failed attempt."""
    begun = runs.steps(tx, run.tenant_id, run.run_id)
    running = [step for step in begun if step.status is Status.RUNNING]
    if running:
        waiting = [record.handed_over(step, attempt=run.attempt, now=now) for step in running]
        runs.put_steps(tx, waiting)


def _waits(place: Place, engines: Set[str]) -> bool:
    """Whether it is in the queue for workers of a version that there are."""
    return place.status in WAITING and place.version in engines
