"""Cloud credentials of a tenant: the account that its part of the warehouse is reached as."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from convergence.errors import Invalid

ACCOUNT = re.compile(r"[a-z0-9][a-z0-9-]{0,99}@[a-z0-9-]+(\.[a-z0-9-]+)*\.gserviceaccount\.com")
TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
NEEDED = ("client_email", "private_key", "private_key_id")


class Provider(StrEnum):
    GCP = "gcp"


class CredentialType(StrEnum):
    SERVICE_ACCOUNT_KEY = "service_account_key"
    IMPERSONATION = "impersonation"
    """Nothing secret: the process acts as the account, which lets it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A tenant's credential for a provider; it has one of each. `sealed` is None where nothing is
    secret; `fingerprint` tells one key from another.
    """

    tenant_id: str
    provider: Provider
    credential_type: CredentialType
    account: str
    created_at: datetime
    updated_at: datetime
    fingerprint: str = ""
    description: str = ""
    is_active: bool = True
    sealed: bytes | None = field(default=None, repr=False)

    @property
    def credential_id(self) -> str:
        return f"cred_{self.tenant_id}_{self.provider}"

    @property
    def owner(self) -> str:
        """What its secret is sealed for."""
        return f"cdp|cred|v1|{self.tenant_id}|{self.provider}"


def check_account(text: str) -> str:
    """Give a service account's address back, or raise Invalid."""
    if not ACCOUNT.fullmatch(text):
        raise Invalid(
            f"{text[:100]!r} is no service account",
            code="invalid_credentials",
            hint="for example cdp-acme@my-project.iam.gserviceaccount.com",
        )
    return text


def checked_key(given: Mapping[str, object]) -> dict[str, str]:
    """What is needed of a service account's key file. Raises Invalid, which never repeats it.

    A key names the address that it is traded for a token at: any but Google's is refused, for the
    service would call it.
    """
    if given.get("type") != "service_account":
        raise no_key('its "type" is not "service_account"')
    texts = {name: value for name in NEEDED if isinstance(value := given.get(name), str)}
    if missing := [name for name in NEEDED if not texts.get(name)]:
        raise no_key(f"it lacks {', '.join(missing)}")
    if given.get("token_uri", TOKEN_URI) != TOKEN_URI:
        raise no_key(f"its token_uri is not {TOKEN_URI}")
    if given.get("universe_domain", "googleapis.com") != "googleapis.com":
        raise no_key("its universe_domain is not googleapis.com")
    check_account(texts["client_email"])
    return {"type": "service_account", "token_uri": TOKEN_URI, **texts}


def no_key(why: str) -> Invalid:
    """The error to raise for what is no key."""
    return Invalid(
        f"this is no key of a service account: {why}",
        code="invalid_credentials",
        hint="give the JSON file as Google made it: gcloud iam service-accounts keys create",
    )
