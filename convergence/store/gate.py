"""One FIFO gate around the write transactions of a SQLite file. For `database.py` alone.

SQLite's own lock is unfair: under 16 writers a transaction may wait a hundred times its turn.
The gate is the pool of the write engine, so that another library that is handed the engine waits
in the same line.
"""

import sqlite3
import threading
from collections import deque
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import ConnectionPoolEntry
from typing_extensions import override

BUSY_SECONDS = 30.0
"""How long a writer waits for its turn."""


class Gate:
    """A lock that is granted in the order of asking. Whoever holds it, any thread may leave it."""

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


class GatedPool(sa.StaticPool):
    """One connection, which writers hand on to one another in the order of asking.

    One for all, because what a connection has read of the file is worthless to it once another one
    has written.
    """

    def __init__(self, creator: Any, **options: Any) -> None:  # noqa: ANN401 - the pool's own
        super().__init__(creator, **options)
        self._gate = Gate(timeout=BUSY_SECONDS)

    @override
    def dispose(self) -> None:
        self._gate.enter()
        try:
            super().dispose()
        finally:
            self._gate.leave()

    @override
    def _do_get(self) -> ConnectionPoolEntry:
        self._gate.enter()
        try:
            return super()._do_get()
        except BaseException:
            self._gate.leave()
            raise

    @override
    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        self._gate.leave()
