"""A process that dies by SIGKILL before its N-th statement: `python killed.py mend|upgrade URL N`.

Statements that only read do not count; the commit does. One of too large an N ends well.
"""

import os
import re
import signal
import sys
from itertools import count

import sqlalchemy as sa

from convergence.store import mend, migrate
from convergence.store.database import Database

ACTS = {"mend": mend.mend, "upgrade": migrate.upgrade}
READS = re.compile(r"\s*(PRAGMA|SELECT(?!.*\bINTO\b))", re.DOTALL)


def arm(database: Database, last: int) -> None:
    written = count(1)

    def die_in_time(*_: object) -> None:
        if next(written) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    @sa.event.listens_for(database.engine, "before_cursor_execute")
    def statement(_connection: object, _cursor: object, text: str, *_: object) -> None:
        if not READS.match(text):
            die_in_time()

    sa.event.listen(database.engine, "commit", die_in_time)


if __name__ == "__main__":
    act, url, number = sys.argv[1:]
    opened = Database(url)
    arm(opened, int(number))
    ACTS[act](opened)
