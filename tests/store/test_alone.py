"""Changing tables that somebody else has: not in the way, tried again, and given up by name."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from convergence.errors import Unavailable
from convergence.store import alone, catalogue, mend
from convergence.store.database import Database
from tests.store.test_mend import lose, usage_row

pytestmark = pytest.mark.postgres


@pytest.fixture
def backend() -> str:
    return "postgres"


@contextmanager
def held(database: Database, url: str) -> Iterator[None]:
    """Somebody reads the usage table, and does not end."""
    other = Database(url)
    with other.read() as tx:
        tx.connection.exec_driver_sql("SELECT count(*) FROM tenant_usage_quotas")
        yield
    other.close()


def test_a_table_that_is_read_is_mended_once_its_reader_has_ended(used: Database, url: str) -> None:
    lose(used, ("quota_exceeded",))
    with ThreadPoolExecutor(1) as pool:
        with held(used, url):
            mending = pool.submit(mend.mend, used)
            assert usage_row_without_wait(url)
        assert mending.result(50)
    assert usage_row(used)["quota_exceeded"] is False


def usage_row_without_wait(url: str) -> bool:
    """Whether others can read the table while a mending waits for it."""
    third = Database(url)
    with third.read() as tx:
        rows = tx.connection.exec_driver_sql("SELECT count(*) FROM tenant_usage_quotas").scalar()
    third.close()
    return rows == 1


def test_a_table_that_stays_in_use_is_told_and_nothing_is_changed(
    used: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(used, ("quota_exceeded",))
    monkeypatch.setattr(alone, "TRIES", 2)
    with held(used, url), pytest.raises(Unavailable, match="2 tries") as refusal:
        mend.mend(used)
    assert refusal.value.code == "store_busy"
    assert "pg_stat_activity" in refusal.value.hint
    with used.read() as tx:
        assert [drift.column for drift in catalogue.drifts(tx.connection)] == ["quota_exceeded"]
