"""What a tenant may use, and what it has used today."""

from fastapi import APIRouter

from convergence.api import wire
from convergence.api.auth import Door, TheTenant
from convergence.engine import administer, subscribe
from convergence.errors import Invalid
from convergence.store import tenants

router = APIRouter(prefix="/api/v1/tenants/{tenant_id}", tags=["usage"])


@router.get("/usage", operation_id="get_usage")
def get_usage(door: TheTenant) -> wire.UsageOut:
    """The present UTC day, the limits in force, and what is left of them."""
    today = administer.todays_usage(door.service, door.tenant_id)
    return wire.usage_out(today.row, today.limits, today.use)


@router.get("/limits", operation_id="get_limits")
def get_limits(door: TheTenant) -> wire.LimitsOut:
    """The limits in force."""
    return _limits(door, door.tenant_id)


@router.patch("/limits", operation_id="set_limits")
def set_limits(door: TheTenant, wanted: wire.LimitsPatch) -> wire.LimitsOut:
    """Change some of the limits; the operator alone may."""
    door.caller.require_operator()
    if not wanted.changes:
        raise Invalid("no limit is given", code="nothing_to_change", hint='{"daily_limit": 25}')
    administer.set_limits(door.service, door.tenant_id, wanted.changes)
    return _limits(door, door.tenant_id)


@router.get("/subscription", operation_id="get_subscription")
def get_subscription(door: TheTenant) -> wire.SubscriptionOut:
    """Plan, state, dates and limits."""
    return wire.subscription_out(subscribe.look(door.service, door.tenant_id))


@router.patch("/subscription", operation_id="set_subscription")
def set_subscription(door: TheTenant, wanted: wire.SubscriptionPatch) -> wire.SubscriptionOut:
    """Change plan, state or dates; the operator alone may. A plan brings its own limits.

    A plan below the present use is taken, and `notice` says what that means.
    """
    door.caller.require_operator()
    if not wanted.model_fields_set:
        raise Invalid("nothing to change", code="nothing_to_change", hint='{"plan_name": "SCALE"}')
    changed = subscribe.subscribe(
        door.service, door.tenant_id, plan=wanted.plan_name, changes=wanted.changes
    )
    return wire.subscription_out(changed)


def _limits(door: Door, tenant_id: str) -> wire.LimitsOut:
    today = administer.todays_usage(door.service, tenant_id)
    with door.service.database.read() as tx:
        tenant = tenants.get(tx, tenant_id)
    return wire.limits_out(tenant, today.limits, today.use)
