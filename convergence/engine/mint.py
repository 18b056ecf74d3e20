"""Mint an API key for a tenant: what is kept of it, and the text that is shown once."""

from collections.abc import Collection
from datetime import datetime, timedelta

from convergence.engine.service import Service
from convergence.model.key import ApiKeyRecord, Scope


def mint_key(
    service: Service,
    tenant_id: str,
    *,
    key_name: str,
    days: int,
    scopes: Collection[Scope],
    now: datetime,
) -> tuple[ApiKeyRecord, str]:
    """The record, which is not stored yet, and the key's text, which never is."""
    minted = service.secrets.mint()
    record = ApiKeyRecord(
        key_id=minted.key_id,
        tenant_id=tenant_id,
        key_hash=minted.key_hash,
        pepper_version=minted.pepper_version,
        key_name=key_name,
        scopes=tuple(scope for scope in Scope if scope in scopes),
        created_at=now,
        expires_at=now + timedelta(days=days),
    )
    return record, minted.text
