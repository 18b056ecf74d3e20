"""Sign in to the dashboard: a key, or a link that is good once, is exchanged for a session."""

import secrets
from hashlib import sha256

from convergence.engine import access
from convergence.engine.access import Caller
from convergence.engine.service import Service
from convergence.errors import Unauthenticated
from convergence.model.key import Scope
from convergence.model.session import Session
from convergence.store import fleet, sessions, tenants
from convergence.store.database import ReadTx

RANDOM_BYTES = 32
PATH = "/sign-in"


def make_link(service: Service, tenant_id: str | None) -> str:
    """A path of the dashboard that signs in whoever opens it first, within ten minutes.

    `tenant_id` None is the operator. Raises NotFound.
    """
    token = secrets.token_urlsafe(RANDOM_BYTES)
    with service.database.write() as tx:
        if tenant_id is not None:
            tenants.get(tx, tenant_id)
        sessions.add_link(tx, _hash(token), tenant_id, now=service.clock.now())
    return f"{PATH}?link={token}"


def use_link(service: Service, token: str) -> str:
    """The id of a new session. Raises Unauthenticated for a link that is used, old or no link."""
    with service.database.write() as tx:
        found = sessions.use_link(tx, _hash(token), now=service.clock.now())
    if found is None:
        raise Unauthenticated(
            "This link has been used, is older than ten minutes, or is not whole",
            code="link_not_good",
            hint="ask for a new link, or sign in with a key",
        )
    return _begin(service, Caller(tenant_id=found[0]))


def use_key(service: Service, text: str) -> str:
    """The id of a new session, from a tenant's API key or the operator's. Raises as `identify`."""
    is_admin = service.secrets.is_admin(text)
    key, admin_key = (None, text) if is_admin else (text, None)
    caller = access.identify(service, key=key, admin_key=admin_key)
    caller.require_scopes({Scope.READ})
    return _begin(service, caller)


def resume(service: Service, session_id: str, *, is_use: bool = True) -> Caller:
    """Who the session belongs to. Its key and its tenant must still be good.

    `is_use` False does not keep it alive. Raises Unauthenticated or Forbidden.
    """
    now = service.clock.now()
    with service.database.read() as tx:
        session = sessions.find(tx, _hash(session_id))
        if session is None or session.is_over(now):
            raise Unauthenticated("Please sign in", code="session_over")
        caller = _caller(service, tx, session)
    if is_use and now - session.seen_at >= sessions.TOUCH_EVERY:
        with service.database.write() as tx:
            sessions.touch(tx, session.session_hash, now=now)
    return caller


def end(service: Service, session_id: str) -> None:
    """Sign out."""
    with service.database.write() as tx:
        sessions.end(tx, _hash(session_id))


def form_token(session_id: str) -> str:
    """What every form of the session carries: another site cannot know it."""
    return _hash(f"form {session_id}")


def _begin(service: Service, caller: Caller) -> str:
    session_id, now = secrets.token_urlsafe(RANDOM_BYTES), service.clock.now()
    session = Session(
        session_hash=_hash(session_id),
        tenant_id=caller.tenant_id,
        key_id=caller.key_id,
        created_at=now,
        seen_at=now,
    )
    with service.database.write() as tx:
        sessions.begin(tx, session)
    return session_id


def _caller(service: Service, tx: ReadTx, session: Session) -> Caller:
    if session.tenant_id is None:
        return Caller(tenant_id=None)
    tenant = tenants.get(tx, session.tenant_id)
    if session.key_id is not None:
        record = fleet.key(tx, session.key_id)
        if record is None or not record.is_active:
            raise Unauthenticated("The key you signed in with is revoked", code="invalid_key")
        return access.caller_of(record, tenant, now=service.clock.now())
    access.require_active(tenant)
    return Caller(tenant_id=tenant.tenant_id)


def _hash(text: str) -> str:
    return sha256(text.encode("utf-8", "replace")).hexdigest()
