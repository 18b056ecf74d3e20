"""Brings a control store to the schema of `tables.py`. The only file that imports Alembic.

Tables that are not ours (the durable engine keeps its own beside them) are left alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from convergence.errors import Unavailable
from convergence.store import deployment
from convergence.store.alone import enter_alone, patiently
from convergence.store.database import SCHEMA, Database, ReadTx, WriteTx
from convergence.store.deployment import MIGRATION

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
    newer program has migrated, or one whose migrations were others.
    """
    return patiently(lambda: _upgrade(database))


def changed(tx: ReadTx) -> list[str]:
    """Revisions that were applied with another text than this program has for them."""
    if not sa.inspect(tx.connection).has_table(deployment.TABLE):
        return []
    found = deployment.values(tx, MIGRATION)
    return [each for each, text in _checksums().items() if found.get(each, text) != text]


def approve(database: Database) -> list[str]:
    """Take the texts of this program for those that were applied; the revisions concerned."""
    with database.write() as tx:
        found = changed(tx)
        for revision in found:
            deployment.forget(tx, MIGRATION + revision)
            deployment.put_first(tx, MIGRATION + revision, _checksums()[revision])
        return found


def record(tx: WriteTx) -> None:
    """Keep the checksum of each migration of a store that is at the newest, unless it is kept."""
    for revision, text in _checksums().items():
        deployment.put_first(tx, MIGRATION + revision, text)


def status(database: Database) -> MigrationStatus:
    with database.read() as tx:
        current = _current(tx.connection)
    scripts = ScriptDirectory.from_config(_config())
    head = scripts.get_current_head() or ""
    known = {script.revision for script in scripts.walk_revisions()}
    is_behind = current != head and (current is None or current in known)
    return MigrationStatus(current=current, head=head, is_behind=is_behind)


def _upgrade(database: Database) -> list[str]:
    with database.write() as tx:
        enter_alone(tx)
        if not database.is_sqlite:
            _make_schema(tx.connection)
        config = _config()
        missing = _missing(ScriptDirectory.from_config(config), _current(tx.connection))
        if found := changed(tx):
            raise _unlike(found)
        config.attributes["connection"] = tx.connection
        command.upgrade(config, "head")
        record(tx)
        return missing


def _make_schema(connection: sa.Connection) -> None:
    try:
        connection.execute(sa.schema.CreateSchema(SCHEMA, if_not_exists=True))
    except sa.exc.ProgrammingError as error:
        raise Unavailable(
            f"The control store's schema {SCHEMA} cannot be made: {error.orig}",
            code="store_unavailable",
            hint=f"let the user make schemas (GRANT CREATE ON DATABASE), or make it for it: "
            f"CREATE SCHEMA {SCHEMA} AUTHORIZATION …; the durable engine needs `dbos` likewise",
        ) from error


def _unlike(found: list[str]) -> Unavailable:
    return Unavailable(
        f"Migration {', '.join(found)} was another when it was applied to this control store",
        code="migration_changed",
        hint="use the program that applied it; or take this one's for good: "
        "cdp db migrate --approve-migrations, then cdp db check",
    )


def _checksums() -> Mapping[str, str]:
    """By revision, oldest first; however its lines end."""
    scripts = list(ScriptDirectory.from_config(_config()).walk_revisions())[::-1]
    texts = {script.revision: Path(script.path).read_text("utf-8") for script in scripts}
    return {revision: sha256(text.encode()).hexdigest() for revision, text in texts.items()}


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
