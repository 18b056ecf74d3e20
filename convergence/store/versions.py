"""A number for the data of a tenant: as long as it is the same, so are answers about them."""

import sqlalchemy as sa

from convergence.store.database import ReadTx, WriteTx, insert_into
from convergence.store.tables import data_versions


def version(tx: ReadTx, tenant_id: str) -> int:
    """Grows with each load that is published, and when the tables are others."""
    query = sa.select(data_versions.c.version).where(data_versions.c.tenant_id == tenant_id)
    return tx.connection.execute(query).scalar() or 0


def advance(tx: WriteTx, tenant_id: str) -> None:
    """The data are others from now on. Transactions that do so of one tenant take turns."""
    first = insert_into(data_versions, tx.dialect).values(tenant_id=tenant_id, version=1)
    grown = {"version": data_versions.c.version + 1}
    tx.write(first.on_conflict_do_update(index_elements=["tenant_id"], set_=grown))
