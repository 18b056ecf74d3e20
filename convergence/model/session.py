"""A session of the dashboard: who signed in, and until when that holds."""

from dataclasses import dataclass
from datetime import datetime, timedelta

IDLE = timedelta(minutes=30)
"""A session that was not used for so long is over."""
LIFE = timedelta(hours=12)
LINK_LIFE = timedelta(minutes=10)
"""A link to sign in by is good for so long, and once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """`tenant_id` None is the operator. `key_id` is the API key it came from, if it was one.

    `session_hash` is SHA-256 in hex: the id itself, 256 random bits, is in the cookie alone.
    """

    session_hash: str
    tenant_id: str | None
    key_id: str | None
    created_at: datetime
    seen_at: datetime

    def is_over(self, now: datetime) -> bool:
        return now - self.seen_at >= IDLE or now - self.created_at >= LIFE
