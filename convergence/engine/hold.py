"""One run at a time writes a day: a lease in the store, held as long as a load is under way."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from convergence.engine.service import Service
from convergence.errors import Unavailable
from convergence.model.cancel import CancelToken
from convergence.model.load import LoadKey
from convergence.model.run import Run
from convergence.outside.logs import Log
from convergence.steps.base import StepLog
from convergence.store import loads

PAUSE_SECONDS = 0.2
EVERY_SOURCE = "*"
"""In a lease: of all sources of a day."""

log = Log(__name__)


def copies_others(service: Service) -> bool:
    """Whether the warehouse replaces a day of all sources, to replace it of one."""
    return service.config.is_warehouse_shared


@dataclass(frozen=True, kw_only=True)
class Leases:
    """Those of one attempt of a run, for `seconds` each."""

    service: Service
    run: Run
    seconds: float
    cancel: CancelToken
    tell: StepLog

    @contextmanager
    def hold(self, *keys: LoadKey) -> Iterator[None]:
        """While inside, no other run loads these days; of no source, where a load copies them."""
        with ExitStack() as held:
            for key in keys:
                self._take(key, held)
                if copies_others(self.service):
                    self._take(replace(key, source=EVERY_SOURCE), held)
            yield

    def _take(self, key: LoadKey, held: ExitStack) -> None:
        """Wait until no other run loads the day, then hold it."""
        is_waiting = False
        while not self._acquire(key):
            if not is_waiting:
                self.tell(f"another run loads {key.table} of {key.day}, waiting for its end")
                is_waiting = True
            time.sleep(PAUSE_SECONDS)
        held.callback(self._release, key)

    def _acquire(self, key: LoadKey) -> bool:
        self.cancel.check()
        with self.service.database.write() as tx:
            return loads.acquire(
                tx,
                self.run.tenant_id,
                key,
                run_id=self.run.run_id,
                attempt=self.run.attempt,
                now=self.service.clock.now(),
                seconds=self.seconds,
            )

    def _release(self, key: LoadKey) -> None:
        """Let others load the day. When the store is away, the end of the run does it."""
        try:
            with self.service.database.write() as tx:
                loads.release(tx, self.run.tenant_id, key, run_id=self.run.run_id)
        except Unavailable as error:
            log.warning("lease not released", run_id=self.run.run_id, error=error.detail)
