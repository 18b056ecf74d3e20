"""A tenant's cloud credentials: how its part of the warehouse and its exports are reached."""

from fastapi import APIRouter

from convergence.api import wire
from convergence.api.auth import TheTenant
from convergence.engine import credentials as verbs
from convergence.model.credential import Provider
from convergence.store import credentials, tenants

router = APIRouter(prefix="/api/v1/tenants/{tenant_id}/credentials", tags=["credentials"])


@router.get("", operation_id="list_credentials")
def list_credentials(door: TheTenant) -> wire.Page[wire.CredentialOut]:
    """What there is, by provider; never what is secret of it."""
    with door.service.database.read() as tx:
        tenants.get(tx, door.tenant_id)
        found = credentials.of_tenant(tx, door.tenant_id)
    return wire.Page(items=[wire.credential_out(each) for each in found if each.is_active])


@router.get("/{provider}", operation_id="get_credentials")
def get_credentials(door: TheTenant, provider: Provider) -> wire.CredentialOut:
    with door.service.database.read() as tx:
        return wire.credential_out(credentials.get(tx, door.tenant_id, provider))


@router.put("/{provider}", operation_id="put_credentials")
def put_credentials(
    door: TheTenant,
    provider: Provider,  # noqa: ARG001 - there is one
    wanted: wire.CredentialIn,
) -> wire.CredentialOut:
    """Keep credentials in the place of what there was: sealed, and used from the next job on.

    Impersonation is the operator's: the account trusts the service, not the tenant.
    """
    if wanted.account is not None:
        door.caller.require_operator()
    kept = verbs.put(
        door.service,
        door.tenant_id,
        key=wanted.credentials_json,
        account=wanted.account,
        description=wanted.description,
    )
    return wire.credential_out(kept)


@router.delete("/{provider}", status_code=204, operation_id="remove_credentials")
def remove_credentials(door: TheTenant, provider: Provider) -> None:
    """Forget them; from now on the service's own are used."""
    verbs.remove(door.service, door.tenant_id, provider)
