"""An API key: what the store keeps of it."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyRecord:
    """A key as it is stored: its public id and a keyed hash, never the secret. Times are UTC."""

    key_id: str
    tenant_id: str
    key_hash: str
    """HMAC-SHA256 in hex, made with the pepper of `pepper_version`."""
    pepper_version: int
    key_name: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None = None
    is_active: bool = True
    last_used_at: datetime | None = None
