"""Changing tables beside others who use them: one at a time, and never in anybody's way for long.

For `migrate.py` and `mend.py`. A statement that waits for a table makes everybody behind it wait:
so on PostgreSQL it gives up soon, all is undone, and it is tried again. SQLite has one writer.
"""

import random
import time
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa

from convergence.errors import Unavailable
from convergence.store.database import SCHEMA, WriteTx

TRIES = 20
PAUSE_SECONDS = 0.5
_SETTINGS = {"lock_timeout": "1s", "idle_in_transaction_session_timeout": "120s"}
"""How long a statement waits for a table, and the next statement is waited for: a starved machine
needs longer between two of them than a server does.
"""
_PASSING = {"55P03", "40P01"}
"""A lock that did not come, and a deadlock, in SQL's words."""

T = TypeVar("T")


def enter_alone(tx: WriteTx) -> None:
    """Until the end of the transaction nobody else changes tables."""
    if tx.dialect != "sqlite":
        lock = sa.func.pg_advisory_xact_lock(sa.func.hashtext(SCHEMA))
        tx.connection.execute(sa.select(lock))
        for setting, value in _SETTINGS.items():
            tx.connection.execute(sa.select(sa.func.set_config(setting, value, sa.true())))


def patiently(act: Callable[[], T]) -> T:
    """What it gives, once the tables it needs are free. Raises Unavailable after TRIES."""
    for tried in range(1, TRIES + 1):
        try:
            return act()
        except Unavailable as error:
            cause = getattr(error.__cause__, "orig", None)
            if getattr(cause, "sqlstate", None) not in _PASSING:
                raise
            if tried == TRIES:
                raise _busy(error) from error
            time.sleep(random.uniform(PAUSE_SECONDS / 2, PAUSE_SECONDS))  # noqa: S311 - a pause
    raise AssertionError("TRIES is not positive")


def _busy(error: Unavailable) -> Unavailable:
    return Unavailable(
        f"The tables stayed in use for {TRIES} tries, and nothing was changed: {error.detail}",
        code="store_busy",
        hint="end what holds them (PostgreSQL: pg_stat_activity, pg_locks), then run "
        "`cdp db migrate` again",
    )
