"""How much a caller may ask for: requests in a minute, and queries at once."""

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from convergence.errors import CdpError

MAX_BUCKETS = 100_000
TURN_SECONDS = 2
"""When to look again for a turn."""


class RateLimited(CdpError):
    """Too many requests, or too many at once; `retry_after` is in whole seconds."""

    default_code = "rate_limited"

    def __init__(self, detail: str, *, retry_after: int, code: str = "") -> None:
        super().__init__(detail, code=code, hint=f"try again in {retry_after} s")
        self.retry_after = retry_after


class RateLimit:
    """At most `per_minute` requests of one name at once, and as many in each minute after.

    `seconds` is a clock that only moves forward. In memory: each process counts for itself.
    """

    def __init__(self, per_minute: int, seconds: Callable[[], float]) -> None:
        self._per_minute = per_minute
        self._seconds = seconds
        self._lock = Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str, number: int = 1) -> None:
        """Count `number` requests; 0 only asks. Raises RateLimited when there is no room left."""
        with self._lock:
            now = self._seconds()
            level, since = self._buckets.get(name, (float(self._per_minute), now))
            level = min(self._per_minute, level + (now - since) * self._per_minute / 60)
            if level < 1:
                wait = math.ceil((1 - level) * 60 / self._per_minute)
                raise RateLimited(
                    f"More than {self._per_minute:,} requests in a minute", retry_after=wait
                )
            self._buckets[name] = (level - number, now)
            self._buckets.move_to_end(name)
            if len(self._buckets) > MAX_BUCKETS:
                self._buckets.popitem(last=False)


class Turns:
    """Lets each caller have `most` queries under way: long ones leave others their answers."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._under_way: Counter[str | None] = Counter()

    @contextmanager
    def of(self, caller: str | None) -> Iterator[None]:
        """Raises RateLimited when the caller has as many under way as it may."""
        with self._lock:
            if self._under_way[caller] >= self._most:
                raise RateLimited(
                    f"{self._most} queries are under way already: wait until one has answered",
                    code="too_many_queries",
                    retry_after=TURN_SECONDS,
                )
            self._under_way[caller] += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way[caller] -= 1
