"""A worker that executes only while its lease runs, and begins anew when it missed one.

A process that was paused, or that could not reach the store, may find its runs with another
worker. It breaks off what it does, hands back what it has, and goes on under a new name; what it
still writes under the old one is refused, by the attempts of the runs.
"""

import threading
import time
from uuid import uuid4

from convergence.engine import workers
from convergence.engine.cancel import trip_cancelled
from convergence.engine.execute import Executor
from convergence.engine.recover import Sweeper
from convergence.engine.service import Service
from convergence.engine.work import ENGINE_VERSION, DurableQueue, Worker
from convergence.errors import CdpError
from convergence.outside.logs import Log

log = Log(__name__)


class Fenced:
    """The worker of this process. `has_files` says that it executes loads too."""

    def __init__(self, service: Service, *, has_files: bool) -> None:
        if not isinstance(service.queue, DurableQueue):
            raise TypeError("a worker needs the durable queue")
        self._service = service
        self._queue = service.queue
        self._has_files = has_files
        self._turn = threading.Lock()
        self._is_stopping = False
        self._is_working = False
        self._ended = threading.Event()
        self._begin()
        self._beating = threading.Thread(target=self._beat_until_the_end, daemon=True)
        self._beating.start()

    @property
    def name(self) -> str:
        """Another one after each missed lease."""
        return self._executor.worker

    def sweep(self) -> list[str]:
        """Put back the runs that nobody executes; whose each was."""
        return self._sweeper.sweep()

    def watch_for_cancels(self) -> None:
        """End the work of runs that somebody cancelled."""
        trip_cancelled(self._executor)

    def pace(self) -> None:
        """Look for work as often as there is some."""
        with self._turn:
            if self._is_working:
                self._worker.pace()

    def beat(self) -> None:
        """A sign of life; when the lease is over, a new beginning."""
        with self._turn:
            is_late = self._is_late()
            if is_late:
                self._executor.break_off()
            heard = time.monotonic()
            if self._is_working and workers.beat(self._service, self.name) and not is_late:
                self._heard = heard
            elif not self._is_stopping:
                log.warning("lease missed, beginning again under another name", worker=self.name)
                self._executor.break_off()
                self._end(seconds=0)
                self._begin()

    def stop(self, *, seconds: int) -> None:
        """Wait so long for the runs under way, then break them off; others go on at once."""
        with self._turn:
            self._is_stopping = True
        try:
            self._end(seconds=seconds)
        finally:
            self._ended.set()
            self._beating.join()

    def _begin(self) -> None:
        self._executor = Executor(service=self._service, worker=f"worker-{uuid4()}")
        self._sweeper = Sweeper(service=self._service, queue=self._queue, executor=self._executor)
        self._heard = time.monotonic()
        workers.enlist(self._service, self.name, engine=ENGINE_VERSION)
        try:
            self._sweeper.sweep()
        except CdpError as error:
            log.warning("the first sweep failed, the next one follows", error=error.detail)
        self._worker = Worker(self._executor, has_files=self._has_files)
        self._worker.start()
        self._is_working = True

    def _end(self, *, seconds: int) -> None:
        # Until another beginning has come to its end, each beat tries it again.
        self._is_working = False
        self._worker.stop(seconds=seconds)
        self._sweeper.hand_over()
        workers.retire(self._service, self.name)

    def _beat_until_the_end(self) -> None:
        while not self._ended.wait(workers.BEAT_SECONDS):
            try:
                self.beat()
            except CdpError as error:
                log.warning("no sign of life could be given", error=error.detail)
            except Exception:
                log.exception("giving a sign of life broke")

    def _is_late(self) -> bool:
        """On SQLite nobody else could have taken the runs."""
        silent = time.monotonic() - self._heard
        return not self._service.database.is_sqlite and silent > workers.LEASE.total_seconds()
