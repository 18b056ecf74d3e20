"""End a statement of DuckDB from outside: a tripped token, a limit of time or of a file's size."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from threading import Event, Thread, Timer

import duckdb

from convergence.errors import Cancelled, Invalid
from convergence.model.cancel import CancelToken

AGAIN_SECONDS = 0.05
_BY_SIGNAL = "Query interrupted"
"""DuckDB's words when it finds a Ctrl-C in the main thread, which it takes for itself."""
LOOK_SECONDS = 0.1


@contextmanager
def interruptible(
    cursor: duckdb.DuckDBPyConnection, cancel: CancelToken | None, seconds: float | None = None
) -> Iterator[None]:
    """While inside, a trip or the end of `seconds` breaks off what the cursor runs.

    Raises the token's reason, Cancelled with the code query_timeout, or KeyboardInterrupt.
    """
    breaker = _Breaker(cursor, seconds)
    try:
        with cancel.breaking(breaker.start) if cancel is not None else nullcontext():
            yield
    except duckdb.InterruptException:
        if cancel is not None:
            cancel.check()
        if breaker.is_late:
            raise Cancelled(
                f"the statement took longer than {seconds:g} s",
                code="query_timeout",
                hint="ask for fewer rows or days",
            ) from None
        raise
    except RuntimeError as error:
        if str(error) == _BY_SIGNAL:
            raise KeyboardInterrupt from None
        raise
    finally:
        breaker.stop()


@contextmanager
def growing(cursor: duckdb.DuckDBPyConnection, path: Path, most: int | None) -> Iterator[None]:
    """While inside, what the cursor writes to `path` is broken off above `most` bytes.

    Raises Invalid, code result_too_large.
    """
    breaker = _Breaker(cursor, None)
    watch = Thread(target=breaker.watch, args=(path, most), daemon=True)
    if most is not None:
        watch.start()
    try:
        yield
    except duckdb.InterruptException:
        if not breaker.is_large:
            raise
        raise Invalid(
            f"the answer takes more than {most:,} bytes as a file",
            code="result_too_large",
            hint="ask for fewer rows or columns, or for one part after the other",
        ) from None
    finally:
        breaker.stop()


class _Breaker:
    """Interrupts again and again: DuckDB forgets what comes just before a statement starts."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, seconds: float | None) -> None:
        self._cursor = cursor
        self._ended = Event()
        self._timer = Timer(seconds, self._time_out) if seconds is not None else None
        self.is_late = False
        self.is_large = False
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()

    def start(self) -> None:
        Thread(target=self._interrupt, daemon=True).start()

    def watch(self, path: Path, most: int) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            with suppress(FileNotFoundError):
                self.is_large = path.stat().st_size > most
            if self.is_large:
                self._interrupt()

    def stop(self) -> None:
        self._ended.set()
        if self._timer is not None:
            self._timer.cancel()

    def _time_out(self) -> None:
        self.is_late = True
        self._interrupt()

    def _interrupt(self) -> None:
        while not self._ended.is_set():
            self._cursor.interrupt()
            self._ended.wait(AGAIN_SECONDS)
