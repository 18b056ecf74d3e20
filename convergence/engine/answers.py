"""Keeps answers of the warehouse for as long as they are true; the oldest go when it is full."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock

from convergence.warehouse.question import Result

MOST_ROWS = 100_000
LARGEST = 20_000
"""Rows of an answer that is kept."""


class Answers:
    """By key: a question, and the version of the data that it was asked of."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: OrderedDict[Hashable, Result] = OrderedDict()
        self._rows = 0

    def get(self, key: Hashable, ask: Callable[[], Result]) -> Result:
        """The answer that is kept, or a new one."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found
        answer = ask()
        if len(answer.rows) <= LARGEST:
            self._keep(key, answer)
        return answer

    def _keep(self, key: Hashable, answer: Result) -> None:
        with self._lock:
            if key in self._kept:
                return
            self._kept[key] = answer
            self._rows += len(answer.rows) + 1
            while self._rows > MOST_ROWS:
                _, dropped = self._kept.popitem(last=False)
                self._rows -= len(dropped.rows) + 1
