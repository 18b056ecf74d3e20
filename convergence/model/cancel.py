"""A token that ends work from outside: a cancelled run, a deadline, a process that stops."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from convergence.errors import Cancelled


class CancelToken:
    """Tripped once, from any thread; work that hangs in a call registers how to break it off."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: Cancelled | None = None
        self._breakers: list[Callable[[], object]] = []

    def trip(self, reason: Cancelled) -> None:
        """End the work. The first reason stays."""
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
            breakers = list(self._breakers)
        for break_off in breakers:
            break_off()

    @property
    def reason(self) -> Cancelled | None:
        return self._reason

    def check(self) -> None:
        """Raise the reason when the token was tripped."""
        if self._reason is not None:
            raise self._reason

    @contextmanager
    def part(self) -> Iterator["CancelToken"]:
        """A token for a part of the work: tripped with this one, or alone. Raises as `breaking`."""
        part = CancelToken()

        def pass_on() -> None:
            if self._reason is not None:
                part.trip(self._reason)

        with self.breaking(pass_on):
            yield part

    @contextmanager
    def within(self, seconds: float, reason: Cancelled) -> Iterator["CancelToken"]:
        """As `part`, which trips by itself for `reason` after so many seconds."""
        with self.part() as part:
            timer = threading.Timer(seconds, part.trip, [reason])
            timer.daemon = True
            timer.start()
            try:
                yield part
            finally:
                timer.cancel()

    @contextmanager
    def breaking(self, break_off: Callable[[], object]) -> Iterator[None]:
        """While inside, a trip calls `break_off`. Raises at once when tripped before."""
        with self._lock:
            if self._reason is not None:
                raise self._reason
            self._breakers.append(break_off)
        try:
            yield
        finally:
            with self._lock:
                self._breakers.remove(break_off)
