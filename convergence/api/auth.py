"""Who may call a route. Each declares one kind of access; a route without one stops the start.

`public` everybody · `nearby` this machine, or the operator · `anyone` a tenant or the operator ·
`tenant` the tenant named in the path, or the operator · `operator` the operator alone.
A tenant's key must also be good for what the route does: reading, writing or running.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from convergence.engine import access
from convergence.engine.access import Caller
from convergence.engine.follow import Feed
from convergence.engine.meter import Meter
from convergence.engine.rate import RateLimit, Turns
from convergence.engine.service import Service
from convergence.errors import CdpError, NotFound, Unauthenticated
from convergence.model.key import Scope
from convergence.model.tenant import TENANT_ID

RUNNING = frozenset(
    {"run_template", "run_pipeline", "run_pipeline_of_tenant"}
    | {"cancel_run", "delete_run", "retry_run"}
)
READING = frozenset(
    {"query", "validate_template", "check_template", "plan_run", "plan_template", "explain_query"}
)
"""Operations that change nothing, though they are no GET."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the application keeps for its routes."""

    service: Service
    limit: RateLimit
    queries: Turns
    meter: Meter
    feed: Feed


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """What a route works with, and who is calling; `is_command`: through `cdp`."""

    state: State
    caller: Caller
    is_command: bool

    @property
    def service(self) -> Service:
        return self.state.service

    def tenant_or_all(self, wanted: str | None) -> str | None:
        """The tenant to answer for: the caller's own; the operator may name one, or None: all."""
        if wanted is None:
            return self.caller.tenant_id
        return require(self.caller, wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantDoor(Door):
    """`tenant_id` is the tenant that the path names, and the caller may act for it."""

    tenant_id: str


def public(request: Request) -> Service:
    return _state(request).service


def anyone(request: Request) -> Door:
    state = _state(request)
    caller = _identify(request, state)
    if caller.tenant_id is not None and caller.key_id is not None:
        today = state.service.clock.now().date()
        state.meter.count(caller.tenant_id, today, key_id=caller.key_id)
    caller.require_scopes({scope_of(request.scope["route"])})
    is_command = request.headers.get("User-Agent", "").startswith("cdp/")
    return Door(state=state, caller=caller, is_command=is_command)


def operator(request: Request) -> Door:
    try:
        door = anyone(request)
    except Unauthenticated as error:
        error.hint = "X-Admin-Key: …"
        raise
    door.caller.require_operator()
    return door


def tenant(
    request: Request,
    tenant_id: Annotated[str, Path(description="The tenant", examples=["docker_customer_3434x4"])],
) -> TenantDoor:
    door = anyone(request)
    return TenantDoor(
        state=door.state,
        caller=door.caller,
        is_command=door.is_command,
        tenant_id=require(door.caller, tenant_id),
    )


def nearby(request: Request) -> Service:
    address = access.address_of(request.client.host) if request.client else None
    if address is not None and address.is_loopback:
        return public(request)
    return operator(request).service


KINDS = frozenset({public, nearby, anyone, tenant, operator})

Public = Annotated[Service, Depends(public)]
Nearby = Annotated[Service, Depends(nearby)]
Anyone = Annotated[Door, Depends(anyone)]
TheTenant = Annotated[TenantDoor, Depends(tenant)]
Operator = Annotated[Door, Depends(operator)]


def check_again(request: Request) -> None:
    """For what takes long: the keys of the request are still good. Raises as at its beginning."""
    admin_key = request.headers.get("X-Admin-Key")
    access.identify(_state(request).service, key=_key(request), admin_key=admin_key)


def require(caller: Caller, tenant_id: str) -> str:
    """Give the id back. A foreign one raises the NotFound of an absent one."""
    own = caller.tenant_id
    if own == tenant_id or (own is None and TENANT_ID.fullmatch(tenant_id)):
        return tenant_id
    raise NotFound(f"Tenant not found: {tenant_id[:60]}", code="tenant_not_found")


def kinds_of(route: APIRoute) -> frozenset[object]:
    """The kinds of access that a route declares."""
    return frozenset(_calls(route.dependant)) & KINDS


def scope_of(route: APIRoute) -> Scope:
    """What a tenant's key must be good for, to call it."""
    if route.operation_id in RUNNING:
        return Scope.EXECUTE
    is_reading = route.methods == {"GET"} or route.operation_id in READING
    return Scope.READ if is_reading else Scope.WRITE


def check_routes(routes: Iterable[BaseRoute]) -> None:
    """Raise when a route does not declare exactly one kind of access."""
    for route in routes:
        if not isinstance(route, APIRoute) or len(kinds_of(route)) != 1:
            raise TypeError(f"{route!r} declares no kind of access, or several")


def _identify(request: Request, state: State) -> Caller:
    """The caller, counted against its rate. Guessing is counted against the address."""
    address = f"address {request.client.host if request.client else ''}"
    state.limit.take(address, 0)
    try:
        caller = access.identify(
            state.service, key=_key(request), admin_key=request.headers.get("X-Admin-Key")
        )
    except CdpError:
        state.limit.take(address)
        raise
    if caller.is_open:
        access.check_same_site(request.headers.get("Host", ""), request.headers.get("Origin"))
    state.limit.take(caller.key_id or "operator")
    return caller


def _key(request: Request) -> str | None:
    key = request.headers.get("X-API-Key")
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if key is None and scheme.lower() == "bearer" else key


def _calls(dependant: Dependant) -> Iterable[object]:
    for inner in dependant.dependencies:
        yield inner.call
        yield from _calls(inner)


def _state(request: Request) -> State:
    state: State = request.app.state.cdp
    return state
