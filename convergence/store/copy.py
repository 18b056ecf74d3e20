"""The whole store in one SQLite file and back, for backups: a copy as of one moment.

From SQLite the file is the same byte for byte in what it holds, the durable engine's tables too.
From PostgreSQL it has our tables; the queue is made again from the runs that are live.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from convergence.errors import Conflict
from convergence.store import migrate
from convergence.store.database import Database, ReadTx, WriteTx
from convergence.store.mend import sequences
from convergence.store.tables import metadata, tenant_profiles

ROWS = 1000
PAGES = 10_000


def write_copy(database: Database, path: Path) -> None:
    """Write the store into a new file."""
    if database.is_sqlite:
        with database.read() as tx, closing(sqlite3.connect(path)) as target:
            tx.connection.execute(sa.select(sa.literal(1)).select_from(tenant_profiles).limit(1))
            source = tx.connection.connection.driver_connection
            if not isinstance(source, sqlite3.Connection):
                raise TypeError(f"not a connection to SQLite: {source!r}")
            source.backup(target, pages=PAGES)
            target.execute("PRAGMA journal_mode=DELETE")
        return
    with database.read() as tx, closing(_opened(path)) as copy, copy.write() as into:
        _copy_rows(tx, into)


def read_copy(path: Path, database: Database) -> None:
    """Fill a store that has no tenants from such a file. Raises Conflict."""
    migrate.upgrade(database)
    with closing(_opened(path)) as copy, copy.read() as tx, database.write() as into:
        query = sa.select(sa.func.count()).select_from(tenant_profiles)
        if into.connection.execute(query).scalar():
            raise Conflict(
                "The control store has tenants already",
                code="home_not_empty",
                hint="restore into an empty database",
            )
        _copy_rows(tx, into)
        if not database.is_sqlite:
            for table in metadata.sorted_tables:
                for statement in sequences(table):
                    into.connection.execute(statement)


def _opened(path: Path) -> Database:
    opened = Database(f"sqlite:///{path}")
    migrate.upgrade(opened)
    return opened


def _copy_rows(source: ReadTx, target: WriteTx) -> None:
    for table in metadata.sorted_tables:
        target.connection.execute(sa.delete(table))
        result = source.connection.execution_options(yield_per=ROWS).execute(sa.select(table))
        for part in result.mappings().partitions():
            _insert(target, table, [dict(row) for row in part])


def _insert(target: WriteTx, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    """A JSON column's None would be written as JSON's null: such a row goes without it."""
    bare = {c.name for c in table.columns if isinstance(c.type, sa.JSON) and c.nullable}
    without = [row for row in rows if any(row[name] is None for name in bare)]
    whole = [row for row in rows if row not in without] if without else rows
    if whole:
        target.connection.execute(sa.insert(table), whole)
    for row in without:
        given = {k: v for k, v in row.items() if k not in bare or v is not None}
        target.connection.execute(sa.insert(table), given)
