"""Outlast a store that is away for a moment: a restart of the database ends no run."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from convergence.errors import Unavailable
from convergence.outside.logs import Log
from convergence.store.database import UNAVAILABLE

T = TypeVar("T")

OUTAGE_SECONDS = 60
"""For so long the store is waited for; then the run is left to the sweep."""
PAUSE_SECONDS = 0.5

log = Log(__name__)


def outlast(act: Callable[[], T], *, until: threading.Event) -> T:
    """Do what may be repeated; while the store is away, again. Raises Unavailable when that takes
    too long, or when work is broken off, which `until` tells.
    """
    begun = time.monotonic()
    while True:
        try:
            return act()
        except Unavailable as error:
            is_over = time.monotonic() - begun > OUTAGE_SECONDS
            if error.code != UNAVAILABLE or is_over or until.wait(PAUSE_SECONDS):
                raise
            log.warning("the store is away, trying again", error=error.detail)
