"""Brings a control store to the schema of `tables.py`. The only file that imports Alembic.

Tables that are not ours (the durable engine keeps its own beside them) are left alone.
"""

from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from convergence.errors import Unavailable
from convergence.store.database import SCHEMA, Database, WriteTx

_SCRIPTS = str(Path(__file__).with_name("migrations"))


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationStatus:
    """Revisions; `current` None is a database without our tables."""

    current: str | None
    head: str
    is_behind: bool
    """Whether this program knows the way on from there."""

    @property
    def is_current(self) -> bool:
        return self.current == self.head


def upgrade(database: Database) -> list[str]:
    """Apply what is missing, all or nothing; the revisions applied, oldest first.

    Safe to repeat, and in several processes at once. Raises Unavailable for a database that a
    newer program has migrated.
    """
    with database.write() as tx:
        if not database.is_sqlite:
            _enter_alone(tx)
        config = _config()
        missing = _missing(ScriptDirectory.from_config(config), _current(tx.connection))
        config.attributes["connection"] = tx.connection
        command.upgrade(config, "head")
        return missing


def status(database: Database) -> MigrationStatus:
    with database.read() as tx:
        current = _current(tx.connection)
    scripts = ScriptDirectory.from_config(_config())
    head = scripts.get_current_head() or ""
    known = {script.revision for script in scripts.walk_revisions()}
    is_behind = current != head and (current is None or current in known)
    return MigrationStatus(current=current, head=head, is_behind=is_behind)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", _SCRIPTS.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _missing(scripts: ScriptDirectory, current: str | None) -> list[str]:
    known = [script.revision for script in scripts.walk_revisions()][::-1]
    if current is not None and current not in known:
        raise Unavailable(
            f"The control store is at revision {current}, which this program does not know",
            code="store_unavailable",
            hint="it was migrated by a newer version: use that version, or restore a backup",
        )
    return known[known.index(current) + 1 :] if current else known


def _current(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _enter_alone(tx: WriteTx) -> None:
    """PostgreSQL: one migration at a time (the lock ends with the transaction), in our schema."""
    tx.connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(SCHEMA))))
    tx.connection.execute(sa.schema.CreateSchema(SCHEMA, if_not_exists=True))
