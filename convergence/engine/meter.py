"""Counts calls and notes used keys in memory; writes both down now and then."""

from collections import Counter, defaultdict
from datetime import date
from threading import Lock

from convergence.engine.service import Service
from convergence.errors import NotFound, Unavailable
from convergence.outside.logs import Log
from convergence.store import fleet, usage

FLUSH_SECONDS = 5.0

log = Log(__name__)


class Meter:
    """The one counter that may lag: what was not yet flushed when a process dies is lost."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._calls: Counter[tuple[str, date]] = Counter()
        self._keys: defaultdict[str, set[str]] = defaultdict(set)

    def count(self, tenant_id: str, day: date, *, key_id: str) -> None:
        with self._lock:
            self._calls[tenant_id, day] += 1
            self._keys[tenant_id].add(key_id)

    def flush(self, service: Service) -> None:
        """Write down what came since the last time, each tenant's in a transaction of its own.

        Raises Unavailable, and then keeps what is not written yet.
        """
        with self._lock:
            calls, self._calls = self._calls, Counter()
            keys, self._keys = self._keys, defaultdict(set)
        now = service.clock.now()
        while calls:
            (tenant_id, day), number = calls.popitem()
            try:
                with service.database.write() as tx:
                    usage.add_api_calls(tx, tenant_id, day, number, now=now)
                    for key_id in sorted(keys[tenant_id]):
                        fleet.touch_key(tx, key_id, now=now)
            except NotFound as error:
                log.warning("calls not counted", tenant_id=tenant_id, error=error.detail)
            except Unavailable:
                with self._lock:
                    self._calls.update({**calls, (tenant_id, day): number})
                    for tenant, used in keys.items():
                        self._keys[tenant] |= used
                raise
