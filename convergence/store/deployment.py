"""What all processes on one store must agree on: a value by name; the first to say it decides."""

import sqlalchemy as sa

from convergence.store.database import Database, ReadTx, WriteTx, insert_into
from convergence.store.tables import deployment

PEPPER = "pepper."
"""Begins the names of the peppers' fingerprints; their version follows."""
FILES = "files"
"""Whose home has the tenants' files."""
ENGINE = "dbos"
"""The major version of the durable engine, whose rows others cannot read."""
MIGRATION = "migration."
"""Begins the names of the checksums of applied migrations; their revision follows."""
TABLE = deployment.name


def value(tx: ReadTx, name: str) -> str | None:
    query = sa.select(deployment.c.value).where(deployment.c.name == name)
    return tx.connection.execute(query).scalar_one_or_none()


def values(tx: ReadTx, prefix: str) -> dict[str, str]:
    """Those whose names begin so, by the rest of the name."""
    query = sa.select(deployment).where(deployment.c.name.startswith(prefix))
    found = tx.connection.execute(query.order_by(deployment.c.name))
    return {row.name.removeprefix(prefix): row.value for row in found}


def put_first(tx: WriteTx, name: str, wanted: str) -> None:
    """Say a value, unless it was said."""
    statement = insert_into(deployment, tx.dialect).on_conflict_do_nothing()
    tx.write(statement, {"name": name, "value": wanted})


def agree(database: Database, name: str, wanted: str) -> str:
    """What holds for all: `wanted`, unless another process was first."""
    with database.read() as tx:
        found = value(tx, name)
    if found is not None:
        return found
    with database.write() as write:
        put_first(write, name, wanted)
        return value(write, name) or wanted


def forget(tx: WriteTx, prefix: str) -> int:
    """Let the next process decide again; how many values were forgotten."""
    return tx.write(sa.delete(deployment).where(deployment.c.name.startswith(prefix)))
