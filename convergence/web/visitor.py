"""Who looks at a page: the session of the cookie, or everybody where authentication is off.

Each route declares a kind of visitor; a route without one stops the start. `anybody` needs no
session · `looking` has one · `acting` has one, and sent a form of ours.
"""

import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Body, Depends, Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from convergence.engine import access, signin
from convergence.engine.access import Caller
from convergence.engine.follow import Feed
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
    feed: Feed
    open_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """`tenant` is the caller's own, or the one the operator chose; None: no choice was made.

    `choices` are the tenants whose pages this visitor may look at.
    """

    state: State
    caller: Caller
    tenant: Tenant | None
    choices: Sequence[Tenant]
    form_token: str

    @property
    def service(self) -> Service:
        return self.state.service

    @property
    def chosen(self) -> str | None:
        """What links carry: the operator's choice of a tenant."""
        return self.tenant.tenant_id if self.tenant and self.caller.is_operator else None

    @property
    def subject(self) -> Tenant:
        """The tenant that a page of costs is about: the operator's first where none was chosen.

        Raises NotFound when there is none at all.
        """
        found = self.tenant or next(iter(self.choices), None)
        if found is None:
            raise NotFound(
                "There is no tenant yet",
                code="tenant_not_found",
                hint="cdp tenants onboard NAME --email you@example.com; or see it all: cdp demo",
            )
        return found


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
    chosen, choices = _tenants(state.service, caller, tenant)
    return Visitor(
        state=state, caller=caller, tenant=chosen, choices=choices, form_token=form_token
    )


def check_again(request: Request) -> None:
    """Before each part of a long answer: the session must still hold. Raises as `looking`.

    To be looked at is no use of a session: a page that is left open does not keep it alive.
    """
    session_id = request.cookies.get(cookie_name(request), "")
    state = state_of(request)
    if not state.service.config.auth_disabled:
        signin.resume(state.service, session_id, is_use=False)


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
        choices=visitor.choices,
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
    """Raise when a route does not declare which visitors it takes."""
    for route in routes:
        if not isinstance(route, APIRoute) or KINDS.isdisjoint(_calls(route.dependant)):
            raise TypeError(f"{route!r} declares no kind of visitor")


def _calls(dependant: Dependant) -> Iterator[object]:
    for inner in dependant.dependencies:
        yield inner.call
        yield from _calls(inner)


def _identify(request: Request, state: State) -> tuple[Caller, str]:
    session_id = request.cookies.get(cookie_name(request))
    if state.service.config.auth_disabled:
        access.check_same_site(request.headers.get("Host", ""), request.headers.get("Origin"))
        return Caller(tenant_id=None, is_open=True), state.open_token
    if session_id is None:
        raise Unauthenticated("Please sign in", code="session_over")
    return signin.resume(state.service, session_id), signin.form_token(session_id)


def _tenants(
    service: Service, caller: Caller, wanted: str | None
) -> tuple[Tenant | None, Sequence[Tenant]]:
    """The tenant to show, and those to choose from. A foreign one raises the NotFound of an
    absent one.
    """
    own = caller.tenant_id
    if own is not None and wanted not in {None, own}:
        raise NotFound(f"Tenant not found: {str(wanted)[:60]}", code="tenant_not_found")
    chosen_id = own or wanted
    with service.database.read() as tx:
        chosen = tenants.get(tx, chosen_id) if chosen_id else None
        if own is not None and chosen is not None:
            return chosen, (chosen,)
        return chosen, fleet.tenants(tx, limit=MOST_TENANTS, after=None)


def _foreign() -> Forbidden:
    return Forbidden(
        "This form was not sent from a page of this session",
        code="foreign_form",
        hint="open the page again, and send it from there",
    )
