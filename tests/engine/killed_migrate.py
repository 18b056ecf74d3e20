"""A process that dies by SIGKILL before its N-th statement that changes a dataset of a home:
`python killed_migrate.py HOME N`. Of too large an N it brings the home to its schema.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from convergence.engine import migrate
from convergence.settings.fields import Settings
from convergence.warehouse.duckdb.instances import Instances
from convergence.wiring import build

written = count(1)
lend = Instances.lend


class Dying:
    """A cursor that looks in time."""

    def __init__(self, cursor: Any) -> None:  # noqa: ANN401 - DuckDB's
        self._cursor = cursor

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the same
        return getattr(self._cursor, name)

    def execute(self, statement: str, *given: object) -> object:
        self._look(statement)
        return self._cursor.execute(statement, *given)

    def executemany(self, statement: str, *given: object) -> object:
        self._look(statement)
        return self._cursor.executemany(statement, *given)

    def _look(self, statement: str) -> None:
        if not statement.lstrip().startswith("SELECT") and next(written) == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def lend_dying(*given: Any, **named: Any) -> Iterator[Any]:  # noqa: ANN401 - the same
    with lend(*given, **named) as cursor:
        yield Dying(cursor)


if __name__ == "__main__":
    Instances.lend = lend_dying  # type: ignore[method-assign]
    migrate.bring(build(Settings(home=Path(sys.argv[1]))))
