"""An answer that is kept, so that a request that is sent again is not done again."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

KEPT = timedelta(hours=48)
ABANDONED = timedelta(minutes=2)
"""A request without an answer for so long has died with its process; another may do it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedRequest:
    """A request that its sender gave a key. `tenant_id` is empty for the operator.

    `digest` is the SHA-256 of what was asked, hex: the same key may not ask for two things.
    """

    tenant_id: str
    route: str
    key: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Status and JSON body; `is_replay`: it was given before."""

    status: int
    body: Mapping[str, Any]
    is_replay: bool = False
