"""Run the service in this process: the worker, and what recurs by itself."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

from convergence.engine import agree, days, ledger
from convergence.engine.cancel import WATCH_SECONDS
from convergence.engine.deliver import deliver
from convergence.engine.execute import Executor
from convergence.engine.fence import Fenced
from convergence.engine.forget import FORGET_SECONDS, forget
from convergence.engine.recover import Sweeper
from convergence.engine.schedule import run_due
from convergence.engine.service import Service
from convergence.engine.work import DurableQueue
from convergence.errors import CdpError
from convergence.outside.logs import Log

SWEEP_SECONDS = 5.0
MAIL_SECONDS = 2.0
SCHEDULE_SECONDS = 1.0
PACE_SECONDS = 1.0
LEDGER_SECONDS = 3.0
"""From one publishing of the copies to the next; they are there within 5 seconds."""
DAY_SECONDS = 30.0
DRAIN_SECONDS = 20

log = Log(__name__)


@dataclass(kw_only=True)
class Serving:
    """A started service. `stop` waits a while for runs, and hands over the rest; again, it does
    nothing.
    """

    service: Service
    worker: Fenced | None = None
    has_files: bool = False
    _stopping: threading.Event = field(default_factory=threading.Event)
    _drained: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _to_the_end: list[threading.Thread] = field(default_factory=list)
    """Those that go on while the runs under way come to their end."""

    def is_stopping(self) -> bool:
        """Whether what recurs should come to its end."""
        return self._stopping.is_set()

    def is_drained(self) -> bool:
        """Whether the runs have come to their end, or were handed over."""
        return self._drained.is_set()

    def stop(self) -> None:
        if self._stopping.is_set():
            return
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        try:
            if self.worker is not None:
                self.worker.stop(seconds=DRAIN_SECONDS)
        except CdpError as error:
            log.warning("not everything was written before the end", error=error.detail)
        finally:
            self._drained.set()
            for thread in self._to_the_end:
                thread.join()
            self._publish_last()
            self.service.close()

    def _publish_last(self) -> None:
        """Copies of what ended while the service stopped, as far as a moment suffices: the next
        start publishes the others.
        """
        end = time.monotonic() + LEDGER_SECONDS
        try:
            if self.has_files:
                ledger.publish(self.service, is_over=lambda: time.monotonic() > end)
        except CdpError as error:
            log.warning("not all copies were published before the end", error=error.detail)

    def sweep(self) -> list[str]:
        """Put back the runs that nobody executes, of all processes; whose each was."""
        if self.worker is not None:
            return self.worker.sweep()
        queue = self.service.queue
        if not isinstance(queue, DurableQueue):
            raise TypeError("a sweep needs the durable queue")
        executor = Executor(service=self.service, worker=f"sweep-{uuid4()}")
        return Sweeper(service=self.service, queue=queue, executor=executor).sweep()

    def every(
        self, seconds: float, act: Callable[[], object], *, while_draining: bool = False
    ) -> None:
        """Repeat `act` in a thread of its own until the service stops, or until its runs have come
        to their end; a failure is logged.
        """
        until, threads = self._stopping, self._threads
        if while_draining:
            until, threads = self._drained, self._to_the_end
        threads.append(
            threading.Thread(
                target=repeat, args=(seconds, act), kwargs={"until": until}, daemon=True
            )
        )
        threads[-1].start()


def repeat(seconds: float, act: Callable[[], object], *, until: threading.Event) -> None:
    while not until.wait(seconds):
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
    has_files = agree.claim_files(service) if with_worker else agree.holds_files(service)
    serving.has_files = has_files and (with_worker or service.database.is_sqlite)
    if serving.has_files:
        service.warehouse.check()
    if with_worker:
        _start_worker(serving)
    if with_worker or service.database.is_sqlite:
        _keep_days(serving)
    if serving.has_files:
        _keep_datasets(serving)
    return serving


def _start_worker(serving: Serving) -> None:
    worker = serving.worker = Fenced(serving.service, has_files=serving.has_files)

    def deliver_mail() -> None:
        deliver(serving.service, is_over=serving.is_stopping)

    def run_schedules() -> None:
        run_due(serving.service, is_over=serving.is_stopping)

    serving.every(SCHEDULE_SECONDS, run_schedules)
    serving.every(MAIL_SECONDS, deliver_mail)
    serving.every(WATCH_SECONDS, worker.watch_for_cancels, while_draining=True)
    serving.every(SWEEP_SECONDS, worker.sweep)
    serving.every(PACE_SECONDS, worker.pace)


def _keep_days(serving: Serving) -> None:
    def open_day() -> None:
        days.open_day(serving.service)

    def forget_old() -> None:
        forget(serving.service)

    serving.every(DAY_SECONDS, open_day)
    serving.every(FORGET_SECONDS, forget_old)


def _keep_datasets(serving: Serving) -> None:
    def publish_ledger() -> None:
        ledger.publish(serving.service, is_over=serving.is_drained)

    serving.every(LEDGER_SECONDS, publish_ledger, while_draining=True)
