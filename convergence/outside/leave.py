"""Leave a call that hangs: for work that cannot be broken off from outside."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from convergence.model.cancel import CancelToken

T = TypeVar("T")


def or_leave(work: Callable[[], T], cancel: CancelToken) -> T:
    """What the work gives. Raises the token's reason as soon as it is tripped; the work is then
    left to come to its end by itself, and looks at the token before it does what counts.
    """
    cancel.check()
    done: Future[T] = Future()
    woken = threading.Event()
    done.add_done_callback(lambda _: woken.set())
    threading.Thread(target=_work, args=(work, done), daemon=True).start()
    with cancel.breaking(woken.set):
        woken.wait()
    if not done.done() or done.exception() is not None:
        cancel.check()
    return done.result()


def _work(work: Callable[[], T], done: "Future[T]") -> None:
    try:
        done.set_result(work())
    except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
        done.set_exception(error)
