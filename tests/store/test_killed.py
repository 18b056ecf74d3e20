"""Killed at any statement, a store is as it was; the next one brings it to its schema."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from convergence.store import mend, migrate
from convergence.store.database import Database
from tests.store.conftest import NINE
from tests.store.test_mend import lose, usage_row
from tests.store.test_migrate import shape

ROOT = Path(__file__).parents[2]
ANY = range(1, 1000)


def is_killed(act: str, url: str, number: int) -> bool:
    """Whether a process died before its statement of that number; else it came to its end."""
    child = subprocess.run(
        [sys.executable, Path(__file__).with_name("killed.py"), act, url, str(number)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        timeout=50,
    )
    assert child.returncode in {0, -signal.SIGKILL}
    return child.returncode != 0


def check_mend(used: Database, url: str, number: int) -> bool:
    whole, row = shape(used), usage_row(used)
    lose(used, tuple(NINE))
    lacking = shape(used)
    killed = is_killed("mend", url, number)
    assert shape(used) == (lacking if killed else whole)
    assert bool(mend.mend(used)) is killed
    assert shape(used) == whole
    assert usage_row(used) == row | {name: default for name, (_, default) in NINE.items()}
    return killed


def check_upgrade(url: str, number: int) -> bool:
    database = Database(url)
    before = shape(database)
    killed = is_killed("upgrade", url, number)
    if killed:
        assert shape(database) == before
        assert migrate.status(database).current is None
    database.close()
    return killed


def test_a_mending_killed_in_its_middle_is_done_by_the_next(used: Database, url: str) -> None:
    assert check_mend(used, url, 6)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_mending_killed_before_any_of_its_statements_is_done_by_the_next(
    used: Database, url: str
) -> None:
    last = next(number for number in ANY if not check_mend(used, url, number))
    assert last > len(("aside", "drop", "create", "fill", "drop", "commit"))


def test_a_migration_killed_in_its_middle_is_done_by_the_next(
    database: Database, empty_url: str
) -> None:
    assert check_upgrade(empty_url, 20)
    check_migrated(empty_url, database)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_migration_killed_before_any_of_its_statements_is_done_by_the_next(
    database: Database, empty_url: str
) -> None:
    last = next(number for number in ANY if not check_upgrade(empty_url, number))
    assert last > len(shape(database))
    check_migrated(empty_url, database)


def check_migrated(url: str, like: Database) -> None:
    opened = Database(url)
    migrate.upgrade(opened)
    assert shape(opened) == shape(like)
    opened.close()
