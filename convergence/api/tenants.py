"""Tenants: bring one in, list and change them, their variables and their API keys."""

from dataclasses import replace

from fastapi import APIRouter, Response

from convergence.api import paging, wire
from convergence.api.auth import Operator, TheTenant
from convergence.api.once import Sending
from convergence.api.paging import Cursor, Limit
from convergence.engine import administer, onboard, subscribe
from convergence.store import fleet, keys, tenants

router = APIRouter(prefix="/api/v1/tenants", tags=["tenants"])


@router.post("/dryrun", operation_id="check_tenant")
def check_tenant(door: Operator, wanted: wire.DryrunIn) -> wire.DryrunOut:
    """Every check of onboarding, without changing anything. 200 also when checks fail."""
    application = replace(_application(wanted), source_table=wanted.source_table)
    return wire.dryrun_out(application, onboard.check_application(door.service, application))


@router.post(
    "/onboard",
    status_code=201,
    operation_id="onboard_tenant",
    response_model=wire.OnboardedOut,
)
def onboard_tenant(door: Operator, wanted: wire.TenantIn, sent: Sending) -> Response:
    """Make a tenant: profile, key, limits, dataset and tables; all or nothing."""

    def make() -> wire.OnboardedOut:
        return wire.onboarded_out(onboard.onboard(door.service, _application(wanted)))

    return sent.create(door, wanted, make, shown_once="api_key")


@router.get("", operation_id="list_tenants")
def list_tenants(
    door: Operator, limit: Limit = paging.DEFAULT, cursor: Cursor = None
) -> wire.Page[wire.TenantOut]:
    """Tenants by id."""
    after = paging.read_name(cursor)
    with door.service.database.read() as tx:
        found = fleet.tenants(tx, limit=limit + 1, after=after)
    return paging.page_of(found, limit, key=lambda each: (each.tenant_id,), show=wire.tenant_out)


@router.get("/{tenant_id}", operation_id="get_tenant")
def get_tenant(door: TheTenant) -> wire.TenantOut:
    with door.service.database.read() as tx:
        return wire.tenant_out(tenants.get(tx, door.tenant_id))


@router.patch("/{tenant_id}", operation_id="update_tenant")
def update_tenant(door: TheTenant, wanted: wire.TenantPatch) -> wire.TenantOut:
    """Change the name or the mail address; the operator may also change the status and the plan."""
    if wanted.status is not None or wanted.subscription_plan is not None:
        door.caller.require_operator()
    if wanted.subscription_plan is not None:
        subscribe.subscribe(door.service, door.tenant_id, plan=wanted.subscription_plan)
    changed = administer.update_tenant(
        door.service,
        door.tenant_id,
        company_name=wanted.company_name,
        admin_email=wanted.admin_email,
        status=wanted.status,
    )
    return wire.tenant_out(changed)


@router.get("/{tenant_id}/variables", operation_id="list_variables")
def list_variables(
    door: TheTenant, limit: Limit = paging.DEFAULT, cursor: Cursor = None
) -> wire.Page[wire.VariableOut]:
    """The tenant's own values of template variables, by name."""
    with door.service.database.read() as tx:
        tenants.get(tx, door.tenant_id)
        stored = wire.variables_out(tenants.variables(tx, door.tenant_id))
    found = paging.after_name(stored, limit, cursor, name=lambda each: each.name)
    return paging.page_of(found, limit, key=lambda each: (each.name,), show=lambda each: each)


@router.put("/{tenant_id}/variables/{name}", operation_id="set_variable")
def set_variable(door: TheTenant, name: str, wanted: wire.VariableIn) -> wire.VariableOut:
    """Store a value for all templates that declare the name."""
    administer.set_variable(door.service, door.tenant_id, name, wanted.value)
    return wire.VariableOut(name=name, value=wanted.value)


@router.delete("/{tenant_id}/variables/{name}", status_code=204, operation_id="delete_variable")
def delete_variable(door: TheTenant, name: str) -> None:
    administer.delete_variable(door.service, door.tenant_id, name)


@router.get("/{tenant_id}/api-keys", operation_id="list_keys")
def list_keys(
    door: TheTenant, limit: Limit = paging.DEFAULT, cursor: Cursor = None
) -> wire.Page[wire.ApiKeyOut]:
    """Keys that were not revoked. Their text is never shown again."""
    with door.service.database.read() as tx:
        tenants.get(tx, door.tenant_id)
        active = sorted(keys.active(tx, door.tenant_id), key=lambda each: each.key_id)
    found = paging.after_name(active, limit, cursor, name=lambda each: each.key_id)
    return paging.page_of(found, limit, key=lambda each: (each.key_id,), show=wire.key_out)


@router.post(
    "/{tenant_id}/api-keys",
    status_code=201,
    operation_id="create_key",
    response_model=wire.NewApiKeyOut,
)
def create_key(door: TheTenant, wanted: wire.ApiKeyIn, sent: Sending) -> Response:
    """A new key, good for no more than the caller's; `api_key` is shown this one time."""
    door.caller.require_scopes(wanted.scopes)

    def create() -> wire.NewApiKeyOut:
        record, text = administer.create_key(
            door.service,
            door.tenant_id,
            key_name=wanted.key_name,
            days=wanted.expires_in_days,
            scopes=wanted.scopes,
        )
        return wire.new_key_out(record, text)

    return sent.create(door, wanted, create, shown_once="api_key")


@router.delete("/{tenant_id}/api-keys/{api_key_id}", status_code=204, operation_id="revoke_key")
def revoke_key(door: TheTenant, api_key_id: str) -> None:
    """From now on the key opens nothing."""
    administer.revoke_key(door.service, door.tenant_id, api_key_id)


def _application(wanted: wire.TenantIn) -> onboard.Application:
    return onboard.Application(
        tenant_id=wanted.tenant_id,
        company_name=wanted.company_name,
        admin_email=wanted.admin_email,
        subscription_plan=wanted.subscription_plan,
    )
