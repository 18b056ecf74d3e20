"""Run the service in this process: the worker, and what recurs by itself."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

from convergence.engine import days, ledger, workers
from convergence.engine.deliver import deliver
from convergence.engine.execute import Executor
from convergence.engine.recover import Sweeper
from convergence.engine.service import Service
from convergence.engine.work import DurableQueue, Worker
from convergence.errors import CdpError
from convergence.outside.logs import Log

SWEEP_SECONDS = 5.0
MAIL_SECONDS = 2.0
LEDGER_SECONDS = 1.0
DAY_SECONDS = 30.0
DRAIN_SECONDS = 20

log = Log(__name__)


@dataclass(kw_only=True)
class Serving:
    """A started service. `stop` waits a while for runs; the next start goes on with the rest."""

    service: Service
    worker: Worker | None = None
    _stopping: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        try:
            if self.worker is not None:
                self.worker.stop(seconds=DRAIN_SECONDS)
                workers.retire(self.service, self.worker.name)
            if _owns_datasets(self):
                ledger.publish(self.service)
        except CdpError as error:
            log.warning("not everything was written before the end", error=error.detail)
        finally:
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


def start(service: Service, *, with_worker: bool) -> Serving:
    """Open and check the parts, put back the runs of dead workers, and start. Raises CdpError.

    The caller holds the home's lock: no other process works on this home.
    """
    serving = Serving(service=service)
    if with_worker or service.database.is_sqlite:
        service.warehouse.check()
    if with_worker:
        _start_worker(serving)
    if _owns_datasets(serving):
        _keep_datasets(serving)
    return serving


def _start_worker(serving: Serving) -> None:
    service = serving.service
    queue = service.queue
    if not isinstance(queue, DurableQueue):
        raise TypeError("a worker needs the durable queue")
    executor = Executor(service=service, worker=f"worker-{uuid4()}")
    sweeper = Sweeper(service=service, queue=queue, executor=executor)
    workers.beat(service, executor.worker)
    sweeper.sweep()
    serving.worker = Worker(executor)
    serving.worker.start()

    def beat() -> None:
        workers.beat(service, executor.worker)

    def deliver_mail() -> None:
        deliver(service)

    serving.every(workers.BEAT_SECONDS, beat)
    serving.every(MAIL_SECONDS, deliver_mail)
    serving.every(SWEEP_SECONDS, sweeper.sweep)


def _keep_datasets(serving: Serving) -> None:
    def publish_ledger() -> None:
        ledger.publish(serving.service)

    def open_day() -> None:
        days.open_day(serving.service)

    serving.every(LEDGER_SECONDS, publish_ledger)
    serving.every(DAY_SECONDS, open_day)


def _owns_datasets(serving: Serving) -> bool:
    """A process without a worker leaves the tenants' datasets to one that has, if there can be."""
    return serving.worker is not None or serving.service.database.is_sqlite
