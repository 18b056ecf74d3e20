"""Notifications: each is sent once, tried again when it may pass, and given up in the end."""

import pytest

from convergence.engine.deliver import deliver
from convergence.engine.onboard import Onboarded
from convergence.engine.service import Service
from convergence.errors import StepFailed, StepInterrupted
from convergence.model.notification import Notification, NotificationState
from convergence.store import notifications
from tests.fakes import FakeClock, FakeMailer


@pytest.fixture
def mailer(service: Service, tenant: Onboarded) -> FakeMailer:
    service.mailer = mailer = FakeMailer()
    return mailer


def leave(service: Service, id_: str = "n1") -> None:
    notification = Notification(
        notification_id=id_,
        tenant_id="acme",
        subject=f"about {id_}",
        text="what happened",
        created_at=service.clock.now(),
    )
    with service.database.write() as tx:
        notifications.add(tx, notification)


def kept(service: Service) -> Notification:
    with service.database.read() as tx:
        (only,) = notifications.newest(tx, "acme", limit=10)
    return only


def test_a_notification_is_sent_once_to_the_admin(service: Service, mailer: FakeMailer) -> None:
    leave(service)
    leave(service)
    assert (deliver(service), deliver(service)) == (1, 0)
    (mail,) = mailer.sent
    assert (mail.to, mail.subject) == (("finops@acme.example",), "about n1")
    assert kept(service).state is NotificationState.SENT


def test_a_mail_server_that_is_away_is_asked_again(
    service: Service, mailer: FakeMailer, clock: FakeClock
) -> None:
    leave(service)
    leave(service, "n2")
    mailer.trouble = StepInterrupted("away", code="mail_unavailable")
    assert deliver(service) == 0
    mailer.trouble = None
    assert deliver(service) == 1  # the other one, which was not tried yet
    clock.advance(minutes=1)
    assert deliver(service) == 1
    assert {mail.message_id for mail in mailer.sent} == {"n1", "n2"}


def test_what_cannot_be_sent_for_a_day_is_given_up(
    service: Service, mailer: FakeMailer, clock: FakeClock
) -> None:
    leave(service)
    mailer.trouble = StepInterrupted("away", code="mail_unavailable")
    for _ in range(40):
        assert deliver(service) == 0
        clock.advance(hours=1)
    given_up = kept(service)
    assert (given_up.state, given_up.error) == (NotificationState.DEAD, "away")
    assert 20 < given_up.attempts < 40


def test_what_is_refused_for_good_is_given_up_at_once(service: Service, mailer: FakeMailer) -> None:
    leave(service)
    mailer.trouble = StepFailed("no such user", code="mail_refused")
    assert deliver(service) == 0
    assert kept(service).state is NotificationState.DEAD


def test_without_a_mail_server_it_is_said_why(service: Service, tenant: Onboarded) -> None:
    leave(service)
    assert deliver(service) == 0
    assert "CDP_SMTP_URL" in (kept(service).error or "")


def test_one_whose_deliverer_died_is_sent_later(
    service: Service, mailer: FakeMailer, clock: FakeClock
) -> None:
    leave(service)
    mailer.trouble = KeyboardInterrupt()  # as a process that ends
    with pytest.raises(KeyboardInterrupt):
        deliver(service)
    mailer.trouble = None
    assert deliver(service) == 0
    clock.advance(minutes=10)
    assert deliver(service) == 1
