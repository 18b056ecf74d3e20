"""A tenant's API keys. The lookup by public id, before the tenant is known, is in `fleet.py`."""

from datetime import datetime

import sqlalchemy as sa

from convergence.errors import NotFound
from convergence.model.key import ApiKeyRecord
from convergence.store import rows
from convergence.store.column_types import kept
from convergence.store.database import ReadTx, WriteTx, insert_into
from convergence.store.fleet import mark_dirty
from convergence.store.tables import tenant_api_keys


def add(tx: WriteTx, key: ApiKeyRecord, *, now: datetime) -> None:
    """Keep a new key, created `now`."""
    tx.write(
        insert_into(tenant_api_keys, tx.dialect).values(
            api_key_id=key.key_id,
            tenant_id=key.tenant_id,
            api_key_hash=key.key_hash,
            pepper_version=key.pepper_version,
            key_name=key.key_name,
            scopes=list(key.scopes),
            is_active=key.is_active,
            created_at=now,
            expires_at=key.expires_at,
        )
    )
    mark_dirty(tx, key.tenant_id, None)


def of_tenant(tx: ReadTx, tenant_id: str) -> list[ApiKeyRecord]:
    """All keys, oldest first, those that were revoked or have expired included."""
    keys = tenant_api_keys
    query = sa.select(keys).where(keys.c.tenant_id == tenant_id)
    found = tx.connection.execute(query.order_by(keys.c.created_at, keys.c.api_key_id))
    return [rows.api_key(row) for row in found]


def active(tx: ReadTx, tenant_id: str) -> list[ApiKeyRecord]:
    """Keys that were not revoked, oldest first; some may have expired."""
    return [key for key in of_tenant(tx, tenant_id) if key.is_active]


def revoke(tx: WriteTx, tenant_id: str, key_id: str, *, now: datetime) -> None:
    """From now on the key opens nothing. Safe to repeat. Raises NotFound."""
    keys = tenant_api_keys
    change = sa.update(keys).where(keys.c.tenant_id == tenant_id, keys.c.api_key_id == key_id)
    first = kept(keys.c.revoked_at, now)
    if not tx.write(change.values(is_active=False, revoked_at=first)):
        raise NotFound(f"API key not found: {key_id}", code="key_not_found")
    mark_dirty(tx, tenant_id, None)
