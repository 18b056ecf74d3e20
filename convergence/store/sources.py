"""Sources, and which tenant may read how much of each."""

from datetime import datetime

import sqlalchemy as sa

from convergence.errors import NotFound
from convergence.model.source import GrantedSource, Kind, Source
from convergence.store.database import ReadTx, WriteTx, insert_into
from convergence.store.tables import source_grants, sources, tenant_profiles

_GRANTED = (
    sa.select(sources.c.files, sources.c.kind, source_grants)
    .join_from(source_grants, sources)
    .where(source_grants.c.tenant_id == sa.bindparam("of_tenant"))
    .order_by(source_grants.c.table_name)
)


def put(tx: WriteTx, source: Source, *, now: datetime) -> None:
    """Write a source; the grants it had before are replaced. Raises NotFound for a tenant."""
    values = {"files": source.files, "kind": source.kind.value}
    statement = insert_into(sources, tx.dialect).values(
        table_name=source.table, **values, created_at=now
    )
    tx.write(
        statement.on_conflict_do_update(
            index_elements=["table_name"], set_={**values, "updated_at": now}
        )
    )
    tx.write(sa.delete(source_grants).where(source_grants.c.table_name == source.table))
    _check_tenants(tx, {grant.tenant_id for grant in source.grants})
    for grant in source.grants:
        tx.write(
            insert_into(source_grants, tx.dialect).values(
                table_name=source.table,
                tenant_id=grant.tenant_id,
                billing_account_ids=list(grant.billing_account_ids),
                project_ids=list(grant.project_ids),
            )
        )


def remove(tx: WriteTx, table: str) -> None:
    """Forget a source and its grants; rows that were loaded stay. Raises NotFound."""
    if not tx.write(sa.delete(sources).where(sources.c.table_name == table)):
        raise NotFound(f"Source not found: {table}", code="source_not_found")


def granted(tx: ReadTx, tenant_id: str) -> tuple[GrantedSource, ...]:
    """What this tenant may read, by table, narrowing included."""
    return tuple(
        GrantedSource(
            table=row.table_name,
            files=row.files,
            kind=Kind(row.kind),
            billing_account_ids=tuple(row.billing_account_ids),
            project_ids=tuple(row.project_ids),
        )
        for row in tx.connection.execute(_GRANTED, {"of_tenant": tenant_id})
    )


def _check_tenants(tx: ReadTx, wanted: set[str]) -> None:
    query = sa.select(tenant_profiles.c.tenant_id).where(tenant_profiles.c.tenant_id.in_(wanted))
    missing = wanted - set(tx.connection.execute(query).scalars())
    if missing:
        raise NotFound(f"Tenant not found: {', '.join(sorted(missing))}", code="tenant_not_found")
