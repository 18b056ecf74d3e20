"""One FIFO gate around the write transactions of a SQLite file. For `database.py` alone.

SQLite's own lock is unfair: under 16 writers a transaction may wait a hundred times its turn.
Every connection of the write engine is a `GatedConnection`, whoever opened it, so that another
library that is handed the engine waits in the same line.
"""

import sqlite3
import threading
from collections import deque

from typing_extensions import override


class Gate:
    """A lock that is granted in the order of asking. It belongs to a connection, not a thread."""

    def __init__(self, *, timeout: float) -> None:
        """`timeout` in seconds: a turn that has not come by then is given up."""
        self._timeout = timeout
        self._mutex = threading.Lock()
        self._waiting: deque[tuple[int, threading.Lock]] = deque()
        self._holder: int | None = None

    def enter(self) -> None:
        """Wait for the turn. Raises RuntimeError where waiting could never end, and
        sqlite3.OperationalError, worded as SQLite's own, when the time is up.
        """
        me = threading.get_ident()
        with self._mutex:
            if self._holder is None:
                self._holder = me
                return
            if self._holder == me:
                raise RuntimeError("this thread is inside a write transaction already")
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append((me, turn))
        if not turn.acquire(timeout=self._timeout):
            self._give_up(me, turn)

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return len(self._waiting)

    def leave(self) -> None:
        """Hand over to the one who waits longest."""
        with self._mutex:
            self._holder, turn = self._waiting.popleft() if self._waiting else (None, None)
            if turn is not None:
                turn.release()

    def _give_up(self, me: int, turn: threading.Lock) -> None:
        with self._mutex:
            if self._holder != me:
                self._waiting.remove((me, turn))
                raise sqlite3.OperationalError("database is locked: the line of writers is stuck")


class GatedConnection(sqlite3.Connection):
    """A connection that holds the gate from `begin_write` until its transaction is over."""

    gate: Gate
    _inside = False

    def begin_write(self) -> None:
        """Raises as `Gate.enter` does."""
        self.gate.enter()
        self._inside = True
        self.execute("BEGIN IMMEDIATE")

    @override
    def commit(self) -> None:
        super().commit()
        self._leave()

    @override
    def rollback(self) -> None:
        try:
            super().rollback()
        finally:
            self._leave()

    @override
    def close(self) -> None:
        try:
            super().close()
        finally:
            self._leave()

    def _leave(self) -> None:
        if self._inside:
            self._inside = False
            self.gate.leave()
