"""Counts calls and notes used keys in memory; writes both down now and then."""

from collections import Counter
from datetime import date
from threading import Lock

from convergence.engine.service import Service
from convergence.errors import CdpError
from convergence.store import fleet, usage

FLUSH_SECONDS = 5.0


class Meter:
    """The one counter that may lag: what was not yet flushed when a process dies is lost."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._calls: Counter[tuple[str, date]] = Counter()
        self._keys: set[str] = set()

    def count(self, tenant_id: str, day: date, *, key_id: str) -> None:
        with self._lock:
            self._calls[tenant_id, day] += 1
            self._keys.add(key_id)

    def flush(self, service: Service) -> None:
        """Write down what came since the last time. Raises CdpError, and then keeps it."""
        with self._lock:
            calls, self._calls = self._calls, Counter()
            keys, self._keys = self._keys, set()
        if not calls:
            return
        now = service.clock.now()
        try:
            with service.database.write() as tx:
                for (tenant_id, day), number in sorted(calls.items()):
                    usage.add_api_calls(tx, tenant_id, day, number, now=now)
                for key_id in sorted(keys):
                    fleet.touch_key(tx, key_id, now=now)
        except CdpError:
            with self._lock:
                self._calls.update(calls)
                self._keys |= keys
            raise
