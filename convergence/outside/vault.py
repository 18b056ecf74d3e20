"""Seals what the store keeps of cloud credentials, so that a copy of the store opens nothing.

Each secret has a data key of its own, which the key-encryption key wraps: AES-256-GCM both times.
Text that is bound to both says whose the secret is: put into another tenant's row, it stays shut.
"""

import os
import secrets
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from convergence.errors import Unavailable
from convergence.outside.secrets import check_secret, kept

FILE = "credentials.key"
_FORM = b"\x01"
_NAME, _NONCE, _KEY, _TAG = 4, 12, 32, 16
_WRAPPED = _NONCE + _KEY + _TAG


class Vault:
    """`key` may list several key-encryption keys, oldest first, with commas between: the last
    seals, all open. What is not given is made in the home at first use, in development alone.
    """

    def __init__(self, home: Path, *, key: str | None, environment: str) -> None:
        check_secret("CDP_CREDENTIALS_KEY", (key or "").split(","), environment)
        text = key or kept(home / FILE, lambda: secrets.token_hex(_KEY))
        self._keys = {_name(each): each for each in map(_key_of, text.split(","))}

    def seal(self, secret: bytes, owner: str) -> bytes:
        data_key = AESGCM.generate_key(8 * _KEY)
        name, key = list(self._keys.items())[-1]
        wrapped = _encrypt(key, data_key, owner)
        return _FORM + name + wrapped + _encrypt(data_key, secret, owner)

    def open(self, sealed: bytes, owner: str) -> bytes:
        """Raises Unavailable for what was sealed with another key, or for another owner."""
        start = len(_FORM) + _NAME
        key = self._keys.get(sealed[len(_FORM) : start])
        if key is None or not sealed.startswith(_FORM):
            raise _shut("CDP_CREDENTIALS_KEY lacks the key that they were sealed with")
        try:
            data_key = _decrypt(key, sealed[start : start + _WRAPPED], owner)
            return _decrypt(data_key, sealed[start + _WRAPPED :], owner)
        except (InvalidTag, ValueError) as error:
            raise _shut("what is stored was changed, or belongs elsewhere") from error

    @staticmethod
    def is_private_key(pem: str) -> bool:
        """Whether a text is a private key without a password."""
        try:
            load_pem_private_key(pem.encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            return False
        return True


def _encrypt(key: bytes, secret: bytes, owner: str) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, secret, owner.encode())


def _decrypt(key: bytes, sealed: bytes, owner: str) -> bytes:
    return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], owner.encode())


def _key_of(text: str) -> bytes:
    return sha256(b"cdp: key of credentials" + text.strip().encode()).digest()


def _name(key: bytes) -> bytes:
    return sha256(b"cdp: name of a key" + key).digest()[:_NAME]


def _shut(why: str) -> Unavailable:
    return Unavailable(
        f"the tenant's credentials cannot be opened: {why}",
        code="credentials_sealed",
        hint="give every process the same CDP_CREDENTIALS_KEY, older ones before it; or store the "
        "credentials again: cdp tenants credentials set",
    )
