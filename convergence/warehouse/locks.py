"""Who writes which part of which table in this process: writers that would meet queue here."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from threading import Condition
from typing import NamedTuple

PAUSE_SECONDS = 0.1


class Part(NamedTuple):
    """A day of a table, or the whole table (day None)."""

    dataset: str
    table: str
    day: date | None = None

    def meets(self, other: "Part") -> bool:
        same_table = self[:2] == other[:2]
        return same_table and (None in (self.day, other.day) or self.day == other.day)


class PartLocks:
    """One writer for each part; a lock may be released by another thread than took it."""

    def __init__(self) -> None:
        self._held: list[Part] = []
        self._changed = Condition()

    @contextmanager
    def hold(self, part: Part, check: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Wait until nobody writes what meets `part`; `check` may end the waiting by raising."""
        with self._changed:
            while any(part.meets(other) for other in self._held):
                check()
                self._changed.wait(PAUSE_SECONDS)
            check()
            self._held.append(part)
        try:
            yield
        finally:
            with self._changed:
                self._held.remove(part)
                self._changed.notify_all()

    @contextmanager
    def hold_all(
        self, parts: Iterable[Part], check: Callable[[], object] = lambda: None
    ) -> Iterator[None]:
        """Whole tables, or days of one, in an order that all keep, so that no two wait for one
        another.
        """
        with ExitStack() as held:
            for part in sorted(set(parts)):
                held.enter_context(self.hold(part, check))
            yield
