"""A mail to a tenant's people: it waits in the store until it is delivered, or given up."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=1)
PATIENCE = timedelta(hours=24)
"""What could not be delivered for so long is given up."""


class NotificationState(StrEnum):
    WAITING = "WAITING"
    SENT = "SENT"
    DEAD = "DEAD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """`notification_id` is made of what it tells, so that a thing is told once."""

    notification_id: str
    tenant_id: str
    subject: str
    text: str
    created_at: datetime
    state: NotificationState = NotificationState.WAITING
    attempts: int = 0
    sent_at: datetime | None = None
    error: str | None = None


def next_attempt(notification: Notification, *, now: datetime) -> datetime | None:
    """When to try again after a failed attempt: pauses double. None: it is to be given up."""
    if now - notification.created_at >= PATIENCE:
        return None
    pause = FIRST_PAUSE.total_seconds() * 2.0 ** min(max(notification.attempts - 1, 0), 10)
    return now + min(timedelta(seconds=pause), LONGEST_PAUSE)
