"""An API key: how its text is made and read, and what the store keeps of it.

`cdp_<live|test>_<key id, 12>_<secret, 43>_<checksum, 6>`, each part in base 62. The key id is
public; the checksum rejects typing errors and junk before the store is asked.
"""

import re
from binascii import crc32
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

KEY = re.compile(r"(cdp_(?:live|test)_([0-9A-Za-z]{12})_([0-9A-Za-z]{43}))_([0-9A-Za-z]{6})")
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ID_BYTES = 9
SECRET_BYTES = 32


class Scope(StrEnum):
    """What a key is good for, within its tenant."""

    READ = "pipelines:read"
    WRITE = "pipelines:write"
    EXECUTE = "pipelines:execute"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedKey:
    key_id: str
    secret: str = field(repr=False)


def parse_key(text: str) -> ParsedKey | None:
    """Read a key's text; None when it is not one, or its checksum is wrong."""
    match = KEY.fullmatch(text)
    if match is None:
        return None
    body, key_id, secret, checksum = match.groups()
    return ParsedKey(key_id=key_id, secret=secret) if checksum == _checksum(body) else None


def assemble(environment: str, *, id_bytes: bytes, secret_bytes: bytes) -> str:
    """The text of a new key, from 9 and 32 random bytes. Production's keys say `live`."""
    if len(id_bytes) != ID_BYTES or len(secret_bytes) != SECRET_BYTES:
        raise ValueError(f"a key takes {ID_BYTES} and {SECRET_BYTES} random bytes")
    label = "live" if environment == "production" else "test"
    body = f"cdp_{label}_{_base62(id_bytes, 12)}_{_base62(secret_bytes, 43)}"
    return f"{body}_{_checksum(body)}"


def _checksum(body: str) -> str:
    return _base62(crc32(body.encode()).to_bytes(4), 6)


def _base62(content: bytes, width: int) -> str:
    number, digits = int.from_bytes(content), []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))


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
