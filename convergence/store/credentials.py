"""A tenant's cloud credentials; what is secret of them is ciphertext."""

from datetime import datetime

import sqlalchemy as sa

from convergence.errors import NotFound
from convergence.model.credential import Credential, Provider
from convergence.store import rows
from convergence.store.database import ReadTx, WriteTx, insert_into
from convergence.store.fleet import mark_dirty
from convergence.store.tables import tenant_cloud_credentials

_TABLE = tenant_cloud_credentials


def put(tx: WriteTx, credential: Credential, sealed: bytes | None) -> Credential:
    """Keep it in the place of what there was for the provider; as it is kept."""
    values = {
        "credential_type": credential.credential_type.value,
        "account": credential.account,
        "fingerprint": credential.fingerprint,
        "description": credential.description,
        "encrypted_credentials": sealed,
        "is_active": True,
        "updated_at": credential.updated_at,
    }
    statement = insert_into(_TABLE, tx.dialect).values(
        credential_id=credential.credential_id,
        tenant_id=credential.tenant_id,
        provider=credential.provider.value,
        created_at=credential.created_at,
        **values,
    )
    tx.write(statement.on_conflict_do_update(index_elements=["credential_id"], set_=values))
    mark_dirty(tx, credential.tenant_id, None)
    return get(tx, credential.tenant_id, credential.provider)


def of_tenant(tx: ReadTx, tenant_id: str) -> list[Credential]:
    """By provider, those that were removed included."""
    query = sa.select(_TABLE).where(_TABLE.c.tenant_id == tenant_id).order_by(_TABLE.c.provider)
    return [rows.credential(row) for row in tx.connection.execute(query)]


def get(tx: ReadTx, tenant_id: str, provider: Provider) -> Credential:
    """Raises NotFound."""
    query = sa.select(_TABLE).where(_is(tenant_id, provider))
    row = tx.connection.execute(query).one_or_none()
    if row is None:
        raise _absent(provider)
    return rows.credential(row)


def remove(tx: WriteTx, tenant_id: str, provider: Provider, *, now: datetime) -> None:
    """Forget what is secret of it. Raises NotFound."""
    change = sa.update(_TABLE).where(_is(tenant_id, provider))
    if not tx.write(change.values(is_active=False, encrypted_credentials=None, updated_at=now)):
        raise _absent(provider)
    mark_dirty(tx, tenant_id, None)


def _is(tenant_id: str, provider: Provider) -> sa.ColumnElement[bool]:
    own = _TABLE.c.tenant_id == tenant_id
    return sa.and_(own, _TABLE.c.provider == provider.value, _TABLE.c.is_active)


def _absent(provider: Provider) -> NotFound:
    return NotFound(
        f"There are no credentials for {provider}",
        code="credentials_not_found",
        hint="without them the process's own are used",
    )
