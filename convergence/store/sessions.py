"""Who is signed in to the dashboard, and links to sign in by: both known by their hash alone."""

from datetime import datetime, timedelta

import sqlalchemy as sa

from convergence.model.session import IDLE, LIFE, LINK_LIFE, Session
from convergence.store.database import ReadTx, WriteTx
from convergence.store.tables import sign_in_links, web_sessions

TOUCH_EVERY = timedelta(minutes=1)


def begin(tx: WriteTx, session: Session) -> None:
    """Keep a new session, and forget those that are over."""
    over = web_sessions.c.seen_at <= session.created_at - IDLE
    aged = web_sessions.c.created_at <= session.created_at - LIFE
    tx.write(sa.delete(web_sessions).where(over | aged))
    tx.write(
        sa.insert(web_sessions).values(
            session_hash=session.session_hash,
            tenant_id=session.tenant_id,
            key_id=session.key_id,
            created_at=session.created_at,
            seen_at=session.seen_at,
        )
    )


def find(tx: ReadTx, session_hash: str) -> Session | None:
    """The session of this hash, also when it is over."""
    query = sa.select(web_sessions).where(web_sessions.c.session_hash == session_hash)
    row = tx.connection.execute(query).one_or_none()
    return Session(**row._mapping) if row else None


def touch(tx: WriteTx, session_hash: str, *, now: datetime) -> None:
    """Note that a session was used."""
    change = sa.update(web_sessions).where(web_sessions.c.session_hash == session_hash)
    tx.write(change.values(seen_at=now))


def end(tx: WriteTx, session_hash: str) -> None:
    """From now on the session opens nothing. Safe to repeat."""
    tx.write(sa.delete(web_sessions).where(web_sessions.c.session_hash == session_hash))


def add_link(tx: WriteTx, link_hash: str, tenant_id: str | None, *, now: datetime) -> None:
    """Keep a link for a tenant, or (None) the operator; and forget those that nobody used."""
    links = sign_in_links
    tx.write(sa.delete(links).where(links.c.created_at <= now - LINK_LIFE))
    tx.write(sa.insert(links).values(link_hash=link_hash, tenant_id=tenant_id, created_at=now))


def use_link(tx: WriteTx, link_hash: str, *, now: datetime) -> tuple[str | None] | None:
    """Whose the link is, in a tuple, for the first who asks in time; None for everybody else."""
    links = sign_in_links
    fresh = sa.and_(links.c.link_hash == link_hash, links.c.created_at > now - LINK_LIFE)
    used = sa.delete(links).where(fresh).returning(links.c.tenant_id)
    row = tx.connection.execute(used).one_or_none()
    return (row.tenant_id,) if row else None
