"""The control store's database: SQLite or PostgreSQL. The one place where their dialects differ.

A read is a snapshot. A write on SQLite is BEGIN IMMEDIATE behind one FIFO gate; on PostgreSQL it
is READ COMMITTED, and `tenants.lock` serialises what one tenant does. What the database itself
refuses becomes `Unavailable` here, and nowhere else.
"""

import math
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from convergence.errors import Conflict, Unavailable
from convergence.store.gate import BUSY_SECONDS, GatedPool
from convergence.store.tables import REVISION

SCHEMA = "cdp"
"""The PostgreSQL schema of our tables."""

_RECORD = sa.table("alembic_version", sa.column("version_num"))
"""Where a database says which migration it is at."""

CHECKPOINT_PAGES = 4000
"""Pages of the log, 16 MB, before SQLite copies them into the file: rarely, a page once."""

CACHE_PAGES = 4000
"""Pages of the file, 16 MB, that the writer keeps."""

CACHED_STATEMENTS = 512
"""Statements that SQLite keeps prepared for the writer: ours and the durable engine's."""

UNAVAILABLE = "store_unavailable"
"""The code of an error that says: the database is away, or busy."""

CONNECTIONS = 20
POOL_SECONDS = 5.0
"""How long a caller waits for one of the connections to PostgreSQL."""
TRUSTED_SECONDS = 1.0
"""One that was used so lately is not asked whether it lives, which takes as long as a statement.
When it has died all the same, its caller learns so as from a death amid a statement.
"""

_CONNECTION = {
    # A lock that does not come, and a process that stopped inside a transaction, hold up nobody
    # for long; the second is shorter than the lease of a worker.
    "options": f"-csearch_path={SCHEMA} -clock_timeout=10s "
    "-cidle_in_transaction_session_timeout=15s",
    "connect_timeout": 5,
    # A link that is cut without a word is noticed within this time.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,
}

_COUNTED = {"preserve_rowcount": True}
_HINT = "check that the database runs and that CDP_DATABASE_URL is right"
_HINTS = {
    "file is not a database": "this is no SQLite file: move it away, or restore a backup",
    "disk image is malformed": "restore control.db from a backup",
    "unable to open database file": "make the folder, and let this user write in it",
    "readonly database": "let this user write the file and its folder",
    "disk is full": "free some disk space; nothing that was accepted is lost",
    "disk I/O error": "check the disk; nothing that was accepted is lost",
    "database is locked": "another process holds the file; try again",
    "no such table": "run `cdp db migrate`",
    "no such column": "run `cdp db check`, then `cdp db migrate`",
    "lock timeout": "another transaction holds the table; try again",
    "QueuePool limit": "all connections are in use; try again",
}


@dataclass(frozen=True, slots=True)
class ReadTx:
    """A snapshot to read."""

    connection: sa.Connection

    @property
    def dialect(self) -> str:
        return self.connection.dialect.name


@dataclass(frozen=True, slots=True)
class WriteTx(ReadTx):
    """A transaction that may write. Only the engine opens one."""

    def write(self, statement: sa.Executable, values: Mapping[str, Any] | None = None) -> int:
        """How many rows the statement wrote."""
        return self.connection.execute(statement, values, execution_options=_COUNTED).rowcount

    def write_all(self, statement: sa.Executable, rows: Sequence[Mapping[str, Any]]) -> None:
        """The statement for each of the rows, which is made once; nothing without rows."""
        if rows:
            self.connection.execute(statement, rows)


class Database:
    """An open control store. Raises Unavailable, with a hint, when it cannot be used."""

    def __init__(self, url: str, *, connections: int = CONNECTIONS) -> None:
        """`url`: sqlite:////absolute/control.db or postgresql+psycopg://…, ?host=/socket too.
        `connections`: how many to PostgreSQL at most.
        """
        parsed = sa.make_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self._place = str(parsed.database) if self.is_sqlite else repr(parsed)
        if self.is_sqlite:
            check_sqlite_version(sys.version_info[:2], sqlite3.sqlite_version_info)
            self.engine = _sqlite_writer(parsed)
            self._reader = _sqlite_reader(parsed)
        else:
            self.engine = _postgresql(parsed, connections)
            self._reader = self.engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        with self.translated(), self.engine.connect():
            pass

    @contextmanager
    def read(self) -> Iterator[ReadTx]:
        """One snapshot for everything inside."""
        with self.translated(), self._reader.begin() as connection:
            yield ReadTx(connection)

    @contextmanager
    def write(self) -> Iterator[WriteTx]:
        """Commits at the end, or leaves nothing behind. Does not nest in one thread."""
        with self.translated(), self.engine.begin() as connection:
            yield WriteTx(connection)

    @contextmanager
    def rebuild(self) -> Iterator[WriteTx]:
        """A write in which tables may be dropped and made anew, their rows kept aside meanwhile.

        SQLite would follow foreign keys at each drop: there they are checked before the commit.
        """
        with self.translated(), self.engine.connect() as connection:
            raw = connection.connection.driver_connection
            if self.is_sqlite:
                _sqlite(raw).execute("PRAGMA foreign_keys=OFF")
            try:
                with connection.begin():
                    yield WriteTx(connection)
                    if self.is_sqlite:
                        _check_references(_sqlite(raw))
            finally:
                if self.is_sqlite:
                    _sqlite(raw).execute("PRAGMA foreign_keys=ON")

    @contextmanager
    def alone(self, what: str) -> Iterator[bool]:
        """False while another process is inside. SQLite has one process, which is always alone.

        On PostgreSQL transactions of this thread may be opened inside; the hold ends with the
        connection, in whatever way that ends.
        """
        if self.is_sqlite:
            yield True
            return
        with self.write() as tx:
            lock = sa.func.pg_try_advisory_xact_lock(sa.func.hashtext(f"{SCHEMA}.{what}"))
            yield bool(tx.connection.execute(sa.select(lock)).scalar())

    def is_current(self) -> bool:
        """Whether the schema is this program's; `migrate` leads there, and tells why it cannot."""
        with self.translated(), self._reader.connect() as connection:
            if not sa.inspect(connection).has_table(_RECORD.name):
                return False
            return connection.execute(sa.select(_RECORD)).scalar() == REVISION

    def close(self) -> None:
        self._reader.dispose()
        self.engine.dispose()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Make what the database itself refuses Unavailable, whoever asked it."""
        try:
            yield
        except (sa.exc.DBAPIError, sa.exc.TimeoutError, sqlite3.OperationalError) as error:
            reason = " ".join(str(getattr(error, "orig", None) or error).split())
            if not _is_outage(error):
                raise
            hint = next((hint for words, hint in _HINTS.items() if words in reason), _HINT)
            raise Unavailable(
                f"The control store {self._place} cannot be used: {reason}",
                code=UNAVAILABLE,
                hint=hint,
            ) from error


def insert_into(table: sa.Table, dialect: str) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that knows ON CONFLICT."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


def check_sqlite_version(python: tuple[int, ...], library: tuple[int, ...]) -> None:
    """Raise Unavailable for a library that this Python does not work with."""
    if python >= (3, 12) and library < (3, 42):
        raise Unavailable(
            f"SQLite {'.'.join(map(str, library))} is too old for this Python",
            code="store_unavailable",
            hint="Python 3.12 and later need SQLite 3.42 or later: use Python 3.11, a Python "
            "build with a newer SQLite, or PostgreSQL (CDP_DATABASE_URL)",
        )


def _check_references(connection: sqlite3.Connection) -> None:
    if broken := connection.execute("PRAGMA foreign_key_check").fetchall():
        table, _, parent, _ = broken[0]
        raise Conflict(
            f"{len(broken)} rows refer to nothing, the first in {table} to {parent}",
            code="store_inconsistent",
            hint="restore a backup: rows were lost outside this program",
        )


def _is_outage(error: Exception) -> bool:
    """Whether the database failed, not our statement."""
    if isinstance(error, sa.exc.DBAPIError):
        kinds = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.InternalError)
        return isinstance(error, kinds) or type(error) is sa.exc.DatabaseError
    return True


def _sqlite_writer(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(
        url,
        poolclass=GatedPool,
        connect_args={"isolation_level": None, "cached_statements": CACHED_STATEMENTS},
    )

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        raw = _sqlite(connection)
        _prepare(raw)
        mode = raw.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode != "wal":
            raise Unavailable(
                f"SQLite cannot keep a write-ahead log for {url.database} (journal mode {mode})",
                code="store_unavailable",
                hint="put CDP_HOME on a local disk; network file systems do not work",
            )
        raw.execute("PRAGMA synchronous=NORMAL")
        raw.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        raw.execute(f"PRAGMA cache_size={CACHE_PAGES}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        _sqlite(connection.connection.driver_connection).execute("BEGIN IMMEDIATE")

    return engine


def _sqlite_reader(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(
        url, pool_size=32, max_overflow=-1, connect_args={"isolation_level": None}
    )

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        raw = _sqlite(connection)
        raw.execute("PRAGMA query_only=ON")
        _prepare(raw)

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA busy_timeout={int(BUSY_SECONDS * 1000)}")
    connection.execute("PRAGMA foreign_keys=ON")


def _sqlite(connection: object) -> sqlite3.Connection:
    if not isinstance(connection, sqlite3.Connection):
        raise TypeError(f"not a connection to SQLite: {connection!r}")
    return connection


def _postgresql(url: sa.URL, connections: int) -> sa.Engine:
    engine = sa.create_engine(
        url,
        isolation_level="READ COMMITTED",
        pool_size=connections,
        max_overflow=0,
        pool_timeout=POOL_SECONDS,
        # The one used last: it has its statements prepared, and needs no asking.
        pool_use_lifo=True,
        connect_args=_CONNECTION,
    )

    @sa.event.listens_for(engine, "checkin")
    def note(_: DBAPIConnection | None, entry: ConnectionPoolEntry) -> None:
        entry.info["used"] = time.monotonic()

    @sa.event.listens_for(engine, "checkout")
    def ask(
        connection: DBAPIConnection, entry: ConnectionPoolEntry, _: PoolProxiedConnection
    ) -> None:
        if time.monotonic() - entry.info.get("used", math.inf) > TRUSTED_SECONDS:
            try:
                engine.dialect.do_ping(connection)
            except engine.dialect.loaded_dbapi.Error as error:
                raise sa.exc.DisconnectionError from error

    return engine
