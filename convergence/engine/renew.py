"""What is taken for a short time is kept while it is used; who was killed lets go soon."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

from convergence.errors import CdpError
from convergence.outside.logs import Log

log = Log(__name__)


@contextmanager
def renewed(what: str, renew: Callable[[], object], *, seconds: float) -> Iterator[None]:
    """While inside, `renew` is called every so many seconds, in a thread of its own."""
    is_over = Event()

    def keep() -> None:
        while not is_over.wait(seconds):
            try:
                renew()
            except CdpError as error:
                log.warning("not renewed", what=what, error=error.detail)

    thread = Thread(target=keep, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
