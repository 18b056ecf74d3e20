"""Counts the calls of each tenant in memory, and adds them to their usage now and then."""

from collections import Counter
from datetime import date
from threading import Lock

from convergence.engine.service import Service
from convergence.errors import CdpError
from convergence.store import usage

FLUSH_SECONDS = 5.0


class Meter:
    """The one counter that may lag: what was not yet flushed when a process dies is lost."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._calls: Counter[tuple[str, date]] = Counter()

    def count(self, tenant_id: str, day: date) -> None:
        with self._lock:
            self._calls[tenant_id, day] += 1

    def flush(self, service: Service) -> None:
        """Add what was counted since the last time. Raises CdpError, and then keeps it."""
        with self._lock:
            calls, self._calls = self._calls, Counter()
        if not calls:
            return
        try:
            with service.database.write() as tx:
                for (tenant_id, day), number in sorted(calls.items()):
                    usage.add_api_calls(tx, tenant_id, day, number, now=service.clock.now())
        except CdpError:
            with self._lock:
                self._calls.update(calls)
            raise
