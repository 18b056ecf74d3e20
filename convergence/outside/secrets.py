"""What must stay secret: the pepper of key hashes, the operator's key, and new API keys."""

import fcntl
import hmac
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from convergence.errors import Invalid, Unavailable
from convergence.model.key import ID_BYTES, SECRET_BYTES, assemble

MIN_LENGTH = 16
"""Characters that a pepper or an operator's key has at least, outside development."""
NO_HASH = "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class MintedKey:
    """A new API key. `text` is shown once; the rest goes into an ApiKeyRecord."""

    text: str = field(repr=False)
    key_id: str
    key_hash: str
    pepper_version: int


class Secrets:
    """Makes and checks keys.

    `pepper` may list several versions, oldest first, with commas between: new keys use the last,
    old keys stay good. What is not given is kept in files of `home` with mode 0600, made at first
    use, in development alone; elsewhere its lack raises Invalid.
    """

    def __init__(
        self, home: Path, *, pepper: str | None, admin_key: str | None, environment: str
    ) -> None:
        self._environment = environment
        check_given(pepper=pepper, admin_key=admin_key, environment=environment)
        pepper = pepper or kept(home / "pepper", _new_pepper)
        self._peppers = tuple(version.strip().encode() for version in pepper.split(","))
        self.admin_key = admin_key or kept(home / "admin.key", _new_admin_key)

    @property
    def values(self) -> tuple[str, ...]:
        """All that must never be written down; for the log's redaction."""
        return (self.admin_key, *(pepper.decode() for pepper in self._peppers))

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """One for each version of the pepper; all it tells is whether two are the same."""
        return tuple(
            hmac.new(pepper, b"cdp: fingerprint of the pepper", sha256).hexdigest()[:32]
            for pepper in self._peppers
        )

    def mint(self) -> MintedKey:
        """A new API key with 256 random bits."""
        text = assemble(
            self._environment,
            id_bytes=secrets.token_bytes(ID_BYTES),
            secret_bytes=secrets.token_bytes(SECRET_BYTES),
        )
        _, _, key_id, secret, _ = text.split("_")
        version = len(self._peppers)
        return MintedKey(
            text=text,
            key_id=key_id,
            key_hash=self.hash(secret, version),
            pepper_version=version,
        )

    def hash(self, secret: str, pepper_version: int) -> str:
        """HMAC-SHA256 in hex, under one version of the pepper. Versions count from 1."""
        pepper = self._peppers[pepper_version - 1]
        return hmac.new(pepper, secret.encode(), sha256).hexdigest()

    def matches(self, key_hash: str | None, secret: str) -> bool:
        """True when the secret is the stored key's. Takes as long for an unknown key (None)."""
        expected = key_hash or NO_HASH
        versions = range(1, len(self._peppers) + 1)
        found = [hmac.compare_digest(self.hash(secret, each), expected) for each in versions]
        return key_hash is not None and any(found)

    def is_admin(self, text: str) -> bool:
        """True when the text is the operator's key; takes as long for every text."""
        given, own = (
            hmac.new(self._peppers[-1], key.encode("utf-8", "replace"), sha256).digest()
            for key in (text, self.admin_key)
        )
        return hmac.compare_digest(given, own)


def check_given(*, pepper: str | None, admin_key: str | None, environment: str) -> None:
    """Raise Invalid for what is missing or weak outside development."""
    check_secret("CDP_PEPPER", (pepper or "").split(","), environment)
    check_secret("CDP_ADMIN_KEY", [admin_key or ""], environment)


def check_secret(name: str, parts: Sequence[str], environment: str) -> None:
    """Raise Invalid for one that is missing or weak outside development."""
    if environment == "development":
        return
    hint = f"set {name} to {MIN_LENGTH} or more random characters, the same on all hosts"
    if not any(parts):
        raise Invalid(
            f"{name} is not set, and in {environment} it is never generated",
            code="secret_missing",
            hint=hint,
        )
    if min(len(part.strip()) for part in parts) < MIN_LENGTH:
        raise Invalid(
            f"{name} is shorter than {MIN_LENGTH} characters", code="secret_weak", hint=hint
        )


def kept(path: Path, make: Callable[[], str]) -> str:
    """The content of a secret file; whoever comes first, of many processes, makes it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(path, flags, 0o600), "r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            os.fchmod(file.fileno(), 0o600)
            kept = file.read().strip()
            if not kept:
                kept = make()
                file.write(f"{kept}\n")
                file.flush()
                os.fsync(file.fileno())
            return kept
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(
            f"cannot read or make the secret file {path}: {error}",
            code="secret_unreadable",
            hint="make it a plain file of this user, or restore it from a backup",
        ) from error


def _new_pepper() -> str:
    return secrets.token_hex(32)


def _new_admin_key() -> str:
    return f"cdp_admin_{secrets.token_hex(32)}"
