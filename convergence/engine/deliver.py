"""Deliver the notifications that wait in the store. A failure never changes what they tell of."""

from collections.abc import Callable
from datetime import datetime, timedelta

from convergence.engine.service import Service
from convergence.errors import CdpError, StepFailed, StepInterrupted, Unavailable
from convergence.model.notification import Notification, next_attempt
from convergence.outside.logs import Log
from convergence.outside.notify import Mail
from convergence.store import fleet, notifications, tenants

GRACE = timedelta(minutes=10)
"""One whose deliverer died is tried again after so long."""

log = Log(__name__)


def deliver(service: Service, *, is_over: Callable[[], bool] = lambda: False) -> int:
    """Send what is due, to each tenant's present address; how many were sent.

    One by one, until the mail server is not there for one: the rest would wait for it in vain.
    `is_over` ends it early.
    """
    sent = 0
    while not is_over() and (notification := _claim(service)) is not None:
        try:
            _send(service, notification)
        except CdpError as error:
            if _put_off(service, notification, error):
                break
        else:
            _close(service, notification, sent_at=service.clock.now())
            sent += 1
    return sent


def _claim(service: Service) -> Notification | None:
    now = service.clock.now()
    with service.database.read() as read:
        if not fleet.has_notifications(read, now=now):
            return None
    with service.database.write() as tx:
        return fleet.claim_notification(tx, now=now, until=now + GRACE)


def _send(service: Service, notification: Notification) -> None:
    with service.database.read() as tx:
        admin = tenants.get(tx, notification.tenant_id).admin_email
    mail = Mail(
        to=(admin,),
        subject=notification.subject,
        text=notification.text,
        message_id=notification.notification_id,
    )
    report = service.mailer.send(mail, always_allowed=frozenset(mail.to))
    if not report.sent_to:
        reasons = "; ".join(f"{to}: {reason}" for to, reason in report.left_out.items())
        raise StepFailed(reasons, code="mail_refused")


def _put_off(service: Service, notification: Notification, error: CdpError) -> bool:
    """Try later again what may pass, and give up the rest; whether it will be tried again."""
    again = None
    if isinstance(error, StepInterrupted | Unavailable):
        again = next_attempt(notification, now=service.clock.now())
    log.warning(
        "notification given up" if again is None else "notification not sent, will be tried again",
        tenant_id=notification.tenant_id,
        notification_id=notification.notification_id,
        error=error.detail,
    )
    if again is None:
        _close(service, notification, sent_at=None, error=error.detail)
        return False
    tenant_id, id_ = notification.tenant_id, notification.notification_id
    with service.database.write() as tx:
        notifications.put_off(tx, tenant_id, id_, until=again, error=error.detail)
    return True


def _close(
    service: Service, notification: Notification, *, sent_at: datetime | None, error: str = ""
) -> None:
    tenant_id, id_ = notification.tenant_id, notification.notification_id
    with service.database.write() as tx:
        notifications.close(tx, tenant_id, id_, sent_at=sent_at, error=error)
