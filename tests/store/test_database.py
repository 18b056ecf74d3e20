import os
import sqlite3
import stat
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa

from convergence.errors import Unavailable
from convergence.store import runs, tenants
from convergence.store.database import Database, WriteTx, check_sqlite_version
from tests.store.conftest import NOW, add_tenant, make_run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.db"


def refusal(path: Path) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        Database(f"sqlite:///{path}").close()
    assert caught.value.code == "store_unavailable"
    assert str(path) in caught.value.detail
    return caught.value


def test_what_fails_leaves_nothing_behind(database: Database) -> None:
    def break_off() -> None:
        with database.write() as tx:
            add_tenant(tx, "acme")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    with database.read() as read:
        assert read.connection.scalar(sa.text("SELECT count(*) FROM tenant_profiles")) == 0


def test_a_read_is_one_snapshot(database: Database) -> None:
    with database.read() as before:
        count = sa.text("SELECT count(*) FROM tenant_profiles")
        assert before.connection.scalar(count) == 0
        with database.write() as tx:
            add_tenant(tx, "acme")
        assert before.connection.scalar(count) == 0
    with database.read() as after:
        assert after.connection.scalar(count) == 1


def test_a_read_transaction_cannot_write(database: Database) -> None:
    with pytest.raises((Unavailable, sa.exc.InternalError)), database.read() as tx:
        add_tenant(WriteTx(tx.connection), "acme")


def test_moments_come_back_in_utc_whatever_they_were(database: Database) -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=9)))
    with database.write() as tx:
        add_tenant(tx, "acme")
        runs.insert(tx, make_run(created_at=elsewhere))
        run = runs.get(tx, "acme", "r1")
    assert (run.created_at, run.created_at.utcoffset()) == (NOW, timedelta(0))


def test_a_moment_without_a_zone_is_refused(tx: WriteTx) -> None:
    with pytest.raises(sa.exc.StatementError, match="without a time zone"):
        tenants.update(tx, "acme", now=datetime(2024, 11, 1))  # noqa: DTZ001 - the point of it


def test_text_no_database_can_hold_is_made_holdable(tx: WriteTx) -> None:
    runs.insert(tx, make_run(trigger_by="a\0b \ud800 Zoë 💶"))
    assert runs.get(tx, "acme", "r1").trigger_by == "a\ufffdb \ufffd Zoë 💶"


def test_sqlite_is_durable_and_checks_references(path: Path) -> None:
    database = Database(f"sqlite:///{path}")
    with database.write() as tx:
        names = ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        found = [tx.connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]
    assert found == ["wal", 1, 30000, 1]
    database.close()


def test_a_write_inside_a_write_of_the_same_thread_is_refused_at_once(path: Path) -> None:
    database = Database(f"sqlite:///{path}")
    with (
        pytest.raises(RuntimeError, match="inside a write transaction already"),
        database.write(),
        database.engine.begin(),
    ):
        pass
    with database.write():
        pass
    database.close()


def test_a_reader_does_not_wait_for_a_writer(database: Database) -> None:
    with database.write() as tx:
        add_tenant(tx, "acme")
        with database.read() as read:
            assert read.connection.scalar(sa.text("SELECT count(*) FROM tenant_profiles")) == 0


def test_whoever_uses_the_engine_waits_at_the_gate(path: Path) -> None:
    database = Database(f"sqlite:///{path}")
    order: list[str] = []

    def foreign() -> None:
        with database.engine.begin() as connection:
            connection.exec_driver_sql("SELECT 1")
            order.append("foreign")

    with database.write():
        thread = threading.Thread(target=foreign)
        thread.start()
        thread.join(0.05)
        order.append("ours")
    thread.join()
    assert order == ["ours", "foreign"]
    database.close()


def test_who_holds_the_connection_may_commit_in_the_middle(path: Path) -> None:
    database = Database(f"sqlite:///{path}")
    with database.engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x)")
        connection.commit()
        connection.exec_driver_sql("INSERT INTO t VALUES (1)")
    with database.write() as tx:
        assert tx.connection.exec_driver_sql("SELECT count(*) FROM t").scalar() == 0
    database.close()


@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_full_disk_is_told_and_leaves_nothing_behind(database: Database) -> None:
    def fill() -> None:
        with database.write() as tx:
            pages = tx.connection.exec_driver_sql("PRAGMA page_count").scalar()
            tx.connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
            add_tenant(tx, "acme")
            for name in map(str, range(100)):
                runs.insert(tx, make_run(name, parameter_hash=name, error="x" * 9000))

    with pytest.raises(Unavailable, match="disk is full") as caught:
        fill()
    assert "free some disk space" in caught.value.hint
    with database.read() as read:
        assert read.connection.scalar(sa.text("SELECT count(*) FROM tenant_profiles")) == 0


def test_a_file_that_is_no_database_is_told(path: Path) -> None:
    path.write_text("not a database, but long enough to have a header of a hundred bytes" * 9)
    assert "no SQLite file" in refusal(path).hint


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "make the folder" in refusal(tmp_path / "absent" / "control.db").hint


def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    if os.access(folder, os.W_OK):
        folder.rmdir()
        folder.write_text("root may write everywhere, but not below a file")
    assert "let this user write" in refusal(folder / "control.db").hint


def test_a_file_that_may_only_be_read_is_told(path: Path) -> None:
    sqlite3.connect(path).close()
    with pytest.raises(Unavailable) as caught:
        Database(f"sqlite:///file:{path}?mode=ro&uri=true").close()
    assert "let this user write" in caught.value.hint


def test_tables_that_are_not_there_are_told(path: Path) -> None:
    database = Database(f"sqlite:///{path}")
    with pytest.raises(Unavailable, match="no such table") as caught, database.read() as tx:
        tenants.get(tx, "acme")
    assert "cdp db migrate" in caught.value.hint
    database.close()


def test_a_server_that_is_not_there_is_told_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        Database(f"postgresql+psycopg://u:secret@/cdp?host={tmp_path}").close()
    assert "secret" not in caught.value.detail
    assert "CDP_DATABASE_URL" in caught.value.hint


def test_an_old_sqlite_is_refused_where_python_cannot_use_it() -> None:
    with pytest.raises(Unavailable, match=r"3\.40\.1 is too old") as caught:
        check_sqlite_version((3, 12), (3, 40, 1))
    assert "3.42" in caught.value.hint
    check_sqlite_version((3, 11), (3, 40, 1))
    check_sqlite_version((3, 12), (3, 42, 0))
