"""One publish of a table at a time, whichever process does it.

A publish copies the rows of other sources: two at once, each reading what the other is about to
replace, would lose one. The hold is a table with an end, which only one caller can make.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from convergence.errors import CdpError, Unavailable
from convergence.warehouse.bigquery.places import STAGED
from convergence.warehouse.bigquery.tables import Tables

LASTS = timedelta(minutes=15)
PUBLISH_SECONDS = 14 * 60.0
"""A publish is ended before its hold is."""
PAUSE_SECONDS = 0.5


class Alone:
    """Holds tables, over their datasets."""

    def __init__(self, tables: Tables, now: Callable[[], datetime]) -> None:
        self._tables = tables
        self._now = now

    @contextmanager
    def hold(self, dataset: str, table: str) -> Iterator[None]:
        """Wait until nobody else publishes the table, then do. Raises Unavailable after a while."""
        name = f"{STAGED}hold_{table}"
        end = time.monotonic() + 2 * LASTS.total_seconds()
        while not self._tables.ensure_empty(dataset, name, expires=self._now() + LASTS):
            if time.monotonic() > end:
                raise Unavailable(
                    f"{dataset}.{table} is being published by others all the time",
                    code="publish_busy",
                    hint=f"if nothing is: drop the table {name}",
                )
            time.sleep(PAUSE_SECONDS)
        try:
            yield
        finally:
            with suppress(CdpError):
                self._tables.remove(dataset, name)
