"""What the operator's way without a server answers of tenants: who they are and what is theirs."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from convergence.api import wire
from convergence.engine import administer
from convergence.engine.service import Service
from convergence.model.credential import Provider
from convergence.model.tenant import Tenant
from convergence.store import credentials, fleet, keys, tenants

Json = dict[str, Any]
PAGE = 1000


class EmbeddedTenants:
    """From the store alone."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def tenants(self, *, limit: int) -> list[Json]:
        found = islice(self._all_tenants(), limit)
        return [wire.tenant_out(tenant).model_dump(mode="json") for tenant in found]

    def tenant(self, tenant_id: str) -> Json:
        with self._service.database.read() as tx:
            return wire.tenant_out(tenants.get(tx, tenant_id)).model_dump(mode="json")

    def change_tenant(self, tenant_id: str, changes: Json) -> Json:
        wanted = wire.checked(wire.TenantPatch, changes)
        changed = administer.update_tenant(
            self._service,
            tenant_id,
            company_name=wanted.company_name,
            admin_email=wanted.admin_email,
            status=wanted.status,
        )
        return wire.tenant_out(changed).model_dump(mode="json")

    def keys(self, tenant_id: str) -> list[Json]:
        with self._service.database.read() as tx:
            tenants.get(tx, tenant_id)
            found = keys.active(tx, tenant_id)
        return [wire.key_out(key).model_dump(mode="json") for key in found]

    def create_key(self, tenant_id: str, wanted: Json) -> Json:
        asked = wire.checked(wire.ApiKeyIn, wanted)
        key, text = administer.create_key(
            self._service,
            tenant_id,
            key_name=asked.key_name,
            days=asked.expires_in_days,
            scopes=asked.scopes,
        )
        return wire.new_key_out(key, text).model_dump(mode="json")

    def revoke_key(self, tenant_id: str, key_id: str) -> None:
        administer.revoke_key(self._service, tenant_id, key_id)

    def usage(self, tenant_id: str) -> Json:
        found = administer.todays_usage(self._service, tenant_id)
        return wire.usage_out(found.row, found.limits, found.use).model_dump(mode="json")

    def set_limits(self, tenant_id: str, changes: Json) -> Json:
        wanted = wire.checked(wire.LimitsPatch, changes).changes
        administer.set_limits(self._service, tenant_id, wanted)
        found = administer.todays_usage(self._service, tenant_id)
        with self._service.database.read() as tx:
            tenant = tenants.get(tx, tenant_id)
        return wire.limits_out(tenant, found.limits, found.use).model_dump(mode="json")

    def subscription(self, tenant_id: str) -> Json:
        from convergence.engine import subscribe

        found = subscribe.look(self._service, tenant_id)
        return wire.subscription_out(found).model_dump(mode="json")

    def subscribe(self, tenant_id: str, changes: Json) -> Json:
        from convergence.engine import subscribe

        wanted = wire.checked(wire.SubscriptionPatch, changes)
        changed = subscribe.subscribe(
            self._service, tenant_id, plan=wanted.plan_name, changes=wanted.changes
        )
        return wire.subscription_out(changed).model_dump(mode="json")

    def credentials(self, tenant_id: str) -> list[Json]:
        with self._service.database.read() as tx:
            tenants.get(tx, tenant_id)
            found = credentials.of_tenant(tx, tenant_id)
        shown = [wire.credential_out(each) for each in found if each.is_active]
        return [each.model_dump(mode="json") for each in shown]

    def put_credentials(self, tenant_id: str, wanted: Json) -> Json:
        from convergence.engine.credentials import put

        asked = wire.checked(wire.CredentialIn, wanted)
        kept = put(
            self._service,
            tenant_id,
            key=asked.credentials_json,
            account=asked.account,
            description=asked.description,
        )
        return wire.credential_out(kept).model_dump(mode="json")

    def remove_credentials(self, tenant_id: str) -> None:
        from convergence.engine.credentials import remove

        remove(self._service, tenant_id, Provider.GCP)

    def _all_tenants(self) -> Iterator[Tenant]:
        """By id."""
        after: str | None = None
        while True:
            with self._service.database.read() as tx:
                part = fleet.tenants(tx, limit=PAGE, after=after)
            yield from part
            if len(part) < PAGE:
                return
            after = part[-1].tenant_id
