"""Answers by Idempotency-Key, each written in the transaction of what it tells of, if there is one.

A key whose answer is not there yet is taken: its first request is under way.
"""

from datetime import datetime
from functools import cache

import sqlalchemy as sa

from convergence.errors import Conflict, Invalid
from convergence.model.reply import ABANDONED, KEPT, KeyedRequest, Reply
from convergence.store.column_types import UtcDateTime
from convergence.store.database import ReadTx, WriteTx, insert_into
from convergence.store.rows import Row
from convergence.store.tables import idempotency_keys

_KEYS = idempotency_keys.c
_IS_KEY = sa.and_(
    *(
        _KEYS[name] == sa.bindparam(f"of_{name}", type_=sa.String())
        for name in ("tenant_id", "route", "key")
    )
)
_GET = sa.select(idempotency_keys).where(_IS_KEY)
_IS_TAKEN = sa.and_(_IS_KEY, _KEYS.taken_at == sa.bindparam("of_taken_at", type_=UtcDateTime))
_KEEP = sa.update(idempotency_keys).where(_IS_TAKEN)
_FORGET = sa.delete(idempotency_keys).where(_IS_TAKEN)


def find(tx: ReadTx, asked: KeyedRequest, *, now: datetime) -> Reply | None:
    """The answer that is kept; None when there is none, or the first request is under way.

    Raises Invalid when the key has asked for something else.
    """
    row = tx.connection.execute(_GET, _of(asked)).one_or_none()
    return _reply(row, asked) if row and row.taken_at > now - KEPT else None


def take(tx: WriteTx, asked: KeyedRequest, *, now: datetime) -> Reply | None:
    """Take the key: None when it is the caller's now, as the one who took it at `now`. Else the
    answer that is kept.

    Raises Conflict while the first request is under way, and as `find` does.
    """
    values = {
        "tenant_id": asked.tenant_id,
        "route": asked.route,
        "key": asked.key,
        "digest": asked.digest,
        "taken_at": now,
    }
    if tx.write(_take(tx.dialect), values | {"kept": now - KEPT, "abandoned": now - ABANDONED}):
        return None
    row = tx.connection.execute(_GET, _of(asked)).one_or_none()
    reply = _reply(row, asked) if row else None
    if reply is None:
        raise Conflict(
            "The first request with this Idempotency-Key is under way",
            code="request_in_flight",
            hint="send it again in a moment",
        )
    return reply


def keep(tx: WriteTx, asked: KeyedRequest, reply: Reply, *, taken_at: datetime) -> None:
    """Keep the answer, if the key is still the caller's, who took it then."""
    values = {"status": reply.status, "body": dict(reply.body)}
    tx.write(_KEEP, {**_of(asked), "of_taken_at": taken_at, **values})


def renew(tx: WriteTx, asked: KeyedRequest, *, taken_at: datetime, now: datetime) -> bool:
    """Take the key anew. False when it is not the caller's any more."""
    return tx.write(_KEEP, {**_of(asked), "of_taken_at": taken_at, "taken_at": now}) > 0


def forget(tx: WriteTx, asked: KeyedRequest, *, taken_at: datetime) -> None:
    """Give the key back, if it is still the caller's: nothing was done."""
    tx.write(_FORGET, {**_of(asked), "of_taken_at": taken_at})


def _reply(row: Row, asked: KeyedRequest) -> Reply | None:
    if row.digest != asked.digest:
        raise Invalid(
            "This Idempotency-Key was sent before, with another request",
            code="idempotency_key_reused",
            hint="a new request needs a new key",
        )
    return Reply(status=row.status, body=row.body, is_replay=True) if row.status else None


@cache
def _take(dialect: str) -> sa.Insert:
    """Insert, or take over a key that is too old, or whose request has died."""
    statement = insert_into(idempotency_keys, dialect)
    kept, abandoned = (sa.bindparam(name, type_=UtcDateTime) for name in ("kept", "abandoned"))
    is_free = (_KEYS.taken_at <= kept) | (_KEYS.status.is_(None) & (_KEYS.taken_at <= abandoned))
    return statement.on_conflict_do_update(
        index_elements=["tenant_id", "route", "key"],
        set_={
            "digest": statement.excluded.digest,
            "taken_at": statement.excluded.taken_at,
            "status": sa.null(),
            "body": sa.null(),
        },
        where=is_free,
    )


def _of(asked: KeyedRequest) -> dict[str, str]:
    return {"of_tenant_id": asked.tenant_id, "of_route": asked.route, "of_key": asked.key}
