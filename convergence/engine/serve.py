"""Run the service in this process: the worker, and what recurs by itself."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

from convergence.engine import days, ledger, recover
from convergence.engine.execute import STOPPING, Executor
from convergence.engine.service import Service
from convergence.engine.work import DurableQueue, Worker
from convergence.errors import Cancelled, CdpError
from convergence.outside.logs import Log

SWEEP_SECONDS = 5.0
LEDGER_SECONDS = 1.0
DAY_SECONDS = 30.0
DRAIN_SECONDS = 20

log = Log(__name__)


@dataclass(kw_only=True)
class Serving:
    """A started service. `stop` waits a while for runs; the next start goes on with the rest."""

    service: Service
    executor: Executor | None
    worker: Worker | None
    _stopping: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        if self.worker is not None and self.executor is not None:
            timer = threading.Timer(DRAIN_SECONDS, self._break_off)
            timer.start()
            self.worker.stop(seconds=DRAIN_SECONDS + 5)
            timer.cancel()
        ledger.publish(self.service)
        self.service.close()

    def every(self, seconds: float, act: Callable[[], object]) -> None:
        """Repeat `act` in a thread of its own until the service stops; a failure is logged."""
        thread = threading.Thread(target=self._repeat, args=(seconds, act), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _repeat(self, seconds: float, act: Callable[[], object]) -> None:
        while not self._stopping.wait(seconds):
            try:
                act()
            except CdpError as error:
                log.warning("recurring work failed", work=act.__name__, error=error.detail)
            except Exception:
                log.exception("recurring work broke", work=act.__name__)

    def _break_off(self) -> None:
        for token in list(self.executor.tokens.values()) if self.executor else []:
            token.trip(Cancelled("the service is stopping", code=STOPPING))


def start(service: Service, *, with_worker: bool) -> Serving:
    """Open the parts, put back the runs of dead workers, and start. Raises CdpError.

    The caller holds the home's lock: no other process works on this home.
    """
    if not with_worker:
        return Serving(service=service, executor=None, worker=None)
    queue = service.queue
    if not isinstance(queue, DurableQueue):
        raise TypeError("a worker needs the durable queue")
    executor = Executor(service=service, worker=f"worker-{uuid4()}")
    worker = Worker(executor)
    serving = Serving(service=service, executor=executor, worker=worker)
    alive = frozenset({executor.worker})
    recover.sweep(service, queue, alive=alive)
    worker.start()
    serving.every(SWEEP_SECONDS, lambda: recover.sweep(service, queue, alive=alive))
    serving.every(LEDGER_SECONDS, lambda: ledger.publish(service))
    serving.every(DAY_SECONDS, lambda: days.open_day(service))
    return serving
