"""Who is calling: a tenant by its key, or the operator. Everything else is refused."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from convergence.engine.service import Service
from convergence.errors import Forbidden, Unauthenticated
from convergence.model.key import ApiKeyRecord, Scope, parse_key
from convergence.model.tenant import Tenant, TenantStatus
from convergence.store import fleet, tenants


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """`tenant_id` None is the operator. `is_open` means that authentication is switched off."""

    tenant_id: str | None
    key_id: str | None = None
    scopes: frozenset[str] = frozenset(Scope)
    is_open: bool = False

    @property
    def is_operator(self) -> bool:
        return self.tenant_id is None

    def require_operator(self) -> None:
        if not self.is_operator:
            raise Forbidden(
                "this needs the operator's key", code="operator_only", hint="X-Admin-Key: …"
            )

    def require_scopes(self, needed: Collection[Scope]) -> None:
        missing = set(needed) - self.scopes
        if missing:
            raise Forbidden(
                f"this key lacks {', '.join(sorted(missing))}",
                code="scope_missing",
                hint="use a key that has it, or make one",
            )


def identify(service: Service, *, key: str | None, admin_key: str | None) -> Caller:
    """Turn the keys of a request into a caller. Raises Unauthenticated or Forbidden.

    One answer for every bad key, in the same time, so that nothing can be learnt by guessing.
    """
    if admin_key is not None:
        if service.secrets.is_admin(admin_key):
            return Caller(tenant_id=None)
        raise Forbidden("Invalid admin API key", code="invalid_admin_key")
    if key is None:
        if service.config.auth_disabled:
            return Caller(tenant_id=None, is_open=True)
        raise Unauthenticated("Missing API key", code="missing_key", hint="X-API-Key: cdp_…")
    return _by_key(service, key)


def _by_key(service: Service, text: str) -> Caller:
    refused = Unauthenticated("Invalid or inactive API key", code="invalid_key")
    parsed = parse_key(text)
    if parsed is None:
        raise refused
    now = service.clock.now()
    with service.database.read() as tx:
        record = fleet.key(tx, parsed.key_id)
        matches = service.secrets.matches(record.key_hash if record else None, parsed.secret)
        if record is None or not matches or not record.is_active:
            raise refused
        tenant = tenants.get(tx, record.tenant_id)
    return caller_of(record, tenant, now=now)


def caller_of(record: ApiKeyRecord, tenant: Tenant, *, now: datetime) -> Caller:
    """Who has a key that was not revoked. Raises Unauthenticated (it has expired) or Forbidden."""
    if record.expires_at is not None and record.expires_at <= now:
        raise Unauthenticated("API key has expired", code="key_expired")
    require_active(tenant)
    return Caller(tenant_id=record.tenant_id, key_id=record.key_id, scopes=frozenset(record.scopes))


def require_active(tenant: Tenant) -> None:
    if tenant.status is not TenantStatus.ACTIVE:
        raise Forbidden(f"Tenant {tenant.tenant_id} is {tenant.status}", code="tenant_not_active")


def check_same_site(host: str, origin: str | None) -> None:
    """Without keys, a page of another site must not be able to call through a visitor's browser.

    Such a page names itself in Origin, or lets a public name of its own lead to this machine.
    Raises Forbidden.
    """
    if not _is_local(host) or (origin is not None and origin.partition("://")[2] != host):
        raise Forbidden(
            "without keys, only this machine's own pages and programs may call",
            code="cross_site",
            hint="use http://localhost or an IP address, or switch authentication on",
        )


def _is_local(host: str) -> bool:
    """Whether a Host header holds an address, or a name that no public server can have."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return "." not in name or name.endswith(".localhost") or address_of(name) is not None


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """The address that a text is."""
    try:
        return ip_address(text)
    except ValueError:
        return None
