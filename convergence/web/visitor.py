"""Who looks at a page: the session of the cookie, or everybody where authentication is off.

Each route declares one kind of visitor; a route without one stops the start. `anybody` needs no
session · `looking` has one · `acting` has one, and sent a form of ours.
"""

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Body, Depends, Query, Request
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from convergence.engine import access, signin
from convergence.engine.access import Caller
from convergence.engine.rate import RateLimit
from convergence.engine.service import Service
from convergence.errors import Forbidden, NotFound, Unauthenticated
from convergence.model.key import Scope
from convergence.model.tenant import Tenant
from convergence.store import fleet, tenants

MOST_TENANTS = 500
"""Shown to the operator to choose from."""
FORM_TOKEN = "form_token"  # noqa: S105 - the name of a field


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the pages share. `open_token` is the forms' token where authentication is off."""

    service: Service
    limit: RateLimit
    attempts: RateLimit
    open_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """`tenant` is the caller's own, or the one the operator chose; None: no choice was made."""

    state: State
    caller: Caller
    tenant: Tenant | None
    form_token: str

    @property
    def service(self) -> Service:
        return self.state.service

    @property
    def chosen(self) -> str | None:
        """What links carry: the operator's choice of a tenant."""
        return self.tenant.tenant_id if self.tenant and self.caller.is_operator else None

    def choices(self) -> list[Tenant]:
        """The tenants whose pages this visitor may look at."""
        if not self.caller.is_operator:
            return [self.tenant] if self.tenant else []
        with self.service.database.read() as tx:
            return fleet.tenants(tx, limit=MOST_TENANTS, after=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor(Visitor):
    """A visitor who sent a form."""

    form: Mapping[str, str]


def state_of(request: Request) -> State:
    state: State = request.app.state.web
    return state


def cookie_name(request: Request) -> str:
    """Over https the browser itself keeps the cookie to this host."""
    return "__Host-cdp" if request.url.scheme == "https" else "cdp_session"


def anybody(request: Request) -> State:
    return state_of(request)


def looking(
    request: Request, tenant: Annotated[str | None, Query(max_length=100)] = None
) -> Visitor:
    state = state_of(request)
    caller, form_token = _identify(request, state)
    caller.require_scopes({Scope.READ})
    state.limit.take(caller.key_id or "operator")
    return Visitor(
        state=state,
        caller=caller,
        tenant=_tenant(state.service, caller, tenant),
        form_token=form_token,
    )


def acting(
    request: Request, visitor: Annotated[Visitor, Depends(looking)], body: Annotated[bytes, Body()]
) -> Actor:
    form = read_form(request, body)
    if not hmac.compare_digest(form.get(FORM_TOKEN, "").encode(), visitor.form_token.encode()):
        raise _foreign()
    return Actor(
        state=visitor.state,
        caller=visitor.caller,
        tenant=visitor.tenant,
        form_token=visitor.form_token,
        form=form,
    )


KINDS = frozenset({anybody, looking, acting})

Anybody = Annotated[State, Depends(anybody)]
Looking = Annotated[Visitor, Depends(looking)]
Acting = Annotated[Actor, Depends(acting)]


def read_form(request: Request, body: bytes) -> dict[str, str]:
    """The fields of a form that one of our own pages sent. Raises Forbidden for another's."""
    origin = request.headers.get("Origin", "")
    if origin.partition("://")[2] != request.headers.get("Host", ""):
        raise _foreign()
    return dict(parse_qsl(body.decode("utf-8", "replace"), max_num_fields=50))


def check_routes(routes: Iterable[BaseRoute]) -> None:
    """Raise when a route does not declare exactly one kind of visitor."""
    for route in routes:
        known = route.dependant.dependencies if isinstance(route, APIRoute) else ()
        if len({each.call for each in known} & KINDS) != 1:
            raise TypeError(f"{route!r} declares no kind of visitor, or several")


def _identify(request: Request, state: State) -> tuple[Caller, str]:
    session_id = request.cookies.get(cookie_name(request))
    if state.service.config.auth_disabled:
        access.check_same_site(request.headers.get("Host", ""), request.headers.get("Origin"))
        return Caller(tenant_id=None, is_open=True), state.open_token
    if session_id is None:
        raise Unauthenticated("Please sign in", code="session_over")
    return signin.resume(state.service, session_id), signin.form_token(session_id)


def _tenant(service: Service, caller: Caller, wanted: str | None) -> Tenant | None:
    """The tenant to show. A foreign one raises the NotFound of an absent one."""
    own = caller.tenant_id
    if own is not None and wanted not in {None, own}:
        raise NotFound(f"Tenant not found: {str(wanted)[:60]}", code="tenant_not_found")
    chosen = own or wanted
    if chosen is None:
        return None
    with service.database.read() as tx:
        return tenants.get(tx, chosen)


def _foreign() -> Forbidden:
    return Forbidden(
        "This form was not sent from a page of this session",
        code="foreign_form",
        hint="open the page again, and send it from there",
    )
