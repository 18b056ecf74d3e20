"""Notifications of one tenant: written with what they tell, in one transaction; then their fate."""

from datetime import datetime

import sqlalchemy as sa

from convergence.model.notification import Notification, NotificationState
from convergence.store import rows
from convergence.store.database import ReadTx, WriteTx, insert_into
from convergence.store.tables import outbox


def add(tx: WriteTx, notification: Notification) -> None:
    """Let it be delivered; one of the same id that is there already stays as it is."""
    values = rows.notification_values(notification)
    tx.write(insert_into(outbox, tx.dialect).values(values).on_conflict_do_nothing())


def newest(tx: ReadTx, tenant_id: str, *, limit: int) -> list[Notification]:
    """The latest first."""
    table = outbox.c
    query = sa.select(outbox).where(table.tenant_id == tenant_id)
    found = query.order_by(table.created_at.desc(), table.notification_id).limit(limit)
    return [rows.notification(row) for row in tx.connection.execute(found)]


def put_off(
    tx: WriteTx, tenant_id: str, notification_id: str, *, until: datetime, error: str
) -> None:
    """It could not be delivered, and will be tried again."""
    _change(tx, tenant_id, notification_id, next_attempt_at=until, error=error)


def close(
    tx: WriteTx, tenant_id: str, notification_id: str, *, sent_at: datetime | None, error: str = ""
) -> None:
    """It was delivered, or (None) is given up for `error`."""
    state = NotificationState.DEAD if sent_at is None else NotificationState.SENT
    _change(tx, tenant_id, notification_id, state=state.value, sent_at=sent_at, error=error or None)


def _change(tx: WriteTx, tenant_id: str, notification_id: str, **values: object) -> None:
    table = outbox.c
    mine = (table.notification_id == notification_id) & (table.tenant_id == tenant_id)
    tx.write(sa.update(outbox).where(mine).values(**values))
