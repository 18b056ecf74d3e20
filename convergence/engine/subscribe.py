"""Change what a tenant has subscribed to: plan, state, dates. The operator's; for new runs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from convergence.engine.service import Service
from convergence.model import quota
from convergence.model.quota import Use
from convergence.model.subscription import Subscription, ended
from convergence.model.tenant import PLAN_LIMITS, Limits, Plan, Tenant
from convergence.store import subscriptions, tenants, usage
from convergence.store.database import ReadTx


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribed:
    """What a tenant has subscribed to, and uses at this moment."""

    tenant: Tenant
    subscription: Subscription
    limits: Limits
    use: Use

    @property
    def notice(self) -> str | None:
        """What a person should know after a change: limits below the present use, a last day that
        is over.
        """
        told = [ended(self.subscription, self.use.day), *quota.passed(self.limits, self.use)]
        return "; ".join(filter(None, told)) or None


def look(service: Service, tenant_id: str) -> Subscribed:
    """Raises NotFound."""
    with service.database.read() as tx:
        return _look(tx, tenant_id, service.clock.now().date())


def subscribe(
    service: Service, tenant_id: str, *, plan: Plan | None, changes: Mapping[str, Any] | None = None
) -> Subscribed:
    """Change the plan, and fields of `Subscription`; how it is afterwards. Raises NotFound.

    A new plan brings its own limits. Lower ones than the present use are taken: what runs goes
    on, and new runs are refused until the use is below them.
    """
    now = service.clock.now()
    with service.database.write() as tx:
        tenants.lock(tx, tenant_id)
        if plan is not None:
            subscriptions.set_plan(tx, tenant_id, plan, now=now)
            kept = tenants.limits(tx, tenant_id).maximum_bytes_billed
            limits = replace(PLAN_LIMITS[plan], maximum_bytes_billed=kept)
            tenants.set_limits(tx, tenant_id, limits, now=now)
        changed = replace(subscriptions.get(tx, tenant_id), **(changes or {}))
        subscriptions.put(tx, tenant_id, changed, now=now)
        return _look(tx, tenant_id, now.date())


def _look(tx: ReadTx, tenant_id: str, day: date) -> Subscribed:
    return Subscribed(
        tenant=tenants.get(tx, tenant_id),
        subscription=subscriptions.get(tx, tenant_id),
        limits=tenants.limits(tx, tenant_id),
        use=usage.use(tx, tenant_id, day),
    )
