"""A tenant's cloud credentials: kept sealed, shown without what is secret, taken away."""

import json
from collections.abc import Mapping

from convergence.engine.service import Service
from convergence.errors import Invalid
from convergence.model.credential import (
    Credential,
    CredentialType,
    Provider,
    check_account,
    checked_key,
    no_key,
)
from convergence.store import credentials, tenants


def put(
    service: Service,
    tenant_id: str,
    *,
    key: Mapping[str, object] | None = None,
    account: str | None = None,
    description: str = "",
) -> Credential:
    """Keep a service account's key, or an account to act as, in the place of what there was.

    Raises Invalid, which never repeats the key, and NotFound.
    """
    if (key is None) == (account is None):
        raise Invalid(
            "give either the key of a service account or an account to act as",
            code="invalid_credentials",
        )
    read = checked_key(key) if key is not None else {}
    if read and not service.vault.is_private_key(read["private_key"]):
        raise no_key("its private_key cannot be read")
    kind = CredentialType.SERVICE_ACCOUNT_KEY if read else CredentialType.IMPERSONATION
    now = service.clock.now()
    credential = Credential(
        tenant_id=tenant_id,
        provider=Provider.GCP,
        credential_type=kind,
        account=read["client_email"] if read else check_account(account or ""),
        fingerprint=read.get("private_key_id", "")[:12],
        description=description,
        created_at=now,
        updated_at=now,
    )
    secret = json.dumps(read).encode()
    sealed = service.vault.seal(secret, credential.owner) if read else None
    with service.database.write() as tx:
        tenants.lock(tx, tenant_id)
        return credentials.put(tx, credential, sealed)


def remove(service: Service, tenant_id: str, provider: Provider) -> None:
    """Forget what is secret; from now on the process's own credentials hold. Raises NotFound."""
    with service.database.write() as tx:
        credentials.remove(tx, tenant_id, provider, now=service.clock.now())


def secret_of(service: Service, credential: Credential) -> str:
    """The text of the key file; "" where there is none. Raises Unavailable."""
    if credential.sealed is None:
        return ""
    return service.vault.open(credential.sealed, credential.owner).decode()
