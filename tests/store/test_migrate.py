import re
from collections.abc import Mapping

import pytest
import sqlalchemy as sa

from convergence.errors import Unavailable
from convergence.store import deployment, migrate
from convergence.store.database import Database
from convergence.store.tables import REVISION, metadata

PARTS = re.compile(r"\n|, (?=\w+ [A-Z])")
"""Where SQLite's text of a table is cut: it writes an added column behind the last one."""
IGNORED = {"alembic_version", "dbos_migrations"}


def shape(database: Database) -> dict[str, object]:
    """All that a database knows of its tables, in the order of their columns."""
    with database.read() as tx:
        inspector = sa.inspect(tx.connection)
        tables: dict[str, object] = {
            name: {
                "columns": [
                    {**column, "type": repr(column["type"])}
                    for column in inspector.get_columns(name)
                ],
                "primary key": inspector.get_pk_constraint(name),
                "foreign keys": inspector.get_foreign_keys(name),
                "unique": sorted(inspector.get_unique_constraints(name), key=repr),
                "indexes": [
                    {**index, "dialect_options": _as_text(index.get("dialect_options", {}))}
                    for index in inspector.get_indexes(name)
                ],
            }
            for name in inspector.get_table_names()
            if name not in IGNORED
        }
        if database.is_sqlite:
            written = tx.connection.exec_driver_sql("SELECT tbl_name, name, sql FROM sqlite_master")
            tables["written as"] = {
                name: sorted(part.strip(", \t") for part in PARTS.split(sql or ""))
                for table, name, sql in written
                if table not in IGNORED
            }
        return tables


def test_migrations_lead_to_the_schema_of_the_tables(database: Database, empty_url: str) -> None:
    created = Database(empty_url)
    with created.write() as tx:
        if not created.is_sqlite:
            tx.connection.execute(sa.schema.CreateSchema("cdp"))
        metadata.create_all(tx.connection)
    assert shape(database) == shape(created)
    assert set(shape(database)) - {"written as"} == set(metadata.tables)
    created.close()


def test_a_new_database_is_migrated_once(empty_url: str) -> None:
    database = Database(empty_url)
    before = migrate.status(database)
    assert (before.current, before.is_current) == (None, False)
    applied = migrate.upgrade(database)
    assert (applied[0], applied[-1]) == ("0001", REVISION)
    assert migrate.upgrade(database) == []
    assert migrate.status(database).is_current
    database.close()


def test_foreign_tables_beside_ours_are_left_alone(empty_url: str) -> None:
    database = Database(empty_url)
    with database.write() as tx:
        tx.connection.exec_driver_sql(
            "CREATE SCHEMA dbos" if not database.is_sqlite else "SELECT 1"
        )
        name = "dbos_migrations" if database.is_sqlite else "dbos.dbos_migrations"
        tx.connection.exec_driver_sql(f"CREATE TABLE {name} (version INTEGER)")
    migrate.upgrade(database)
    with database.read() as tx:
        assert tx.connection.scalar(sa.select(sa.func.count()).select_from(sa.text(name))) == 0
    database.close()


def test_a_store_from_a_newer_program_is_refused(database: Database) -> None:
    with database.write() as tx:
        tx.connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    assert not migrate.status(database).is_current
    with pytest.raises(Unavailable, match="revision 9999") as refusal:
        migrate.upgrade(database)
    assert "newer version" in refusal.value.hint


def test_a_migration_that_is_another_than_was_applied_stops_the_next_one(
    database: Database,
) -> None:
    with database.read() as tx:
        assert max(deployment.values(tx, "migration.")) == REVISION
        assert migrate.changed(tx) == []
    with database.write() as tx:
        for statement in (
            "UPDATE deployment SET value = 'another' WHERE name = 'migration.0003'",
            "UPDATE alembic_version SET version_num = '0009'",
        ):
            tx.connection.exec_driver_sql(statement)
    with pytest.raises(Unavailable, match="Migration 0003") as refusal:
        migrate.upgrade(database)
    assert "--approve" in refusal.value.hint
    assert migrate.approve(database) == ["0003"]
    with database.read() as tx:
        assert migrate.changed(tx) == []


def test_our_tables_live_in_a_schema_of_their_own(database: Database) -> None:
    with database.read() as tx:
        home = sa.inspect(tx.connection).default_schema_name
    assert home == ("main" if database.is_sqlite else "cdp")


def _as_text(options: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in options.items()}
