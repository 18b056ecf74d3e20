"""A failing load tells people, through a real SMTP server, with the real status and error."""

import socket
from collections.abc import Iterator
from datetime import date
from email.message import Message
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MessageHandler
from typing_extensions import override

from convergence.engine.execute import Executor
from convergence.engine.launch import launch
from convergence.engine.onboard import Onboarded
from convergence.engine.service import Service
from convergence.model.run import LaunchRequest, Status
from convergence.outside.notify import SmtpMailer
from convergence.store import runs
from tests.conftest import grant_export


class Inbox(MessageHandler):
    def __init__(self) -> None:
        super().__init__()
        self.mails: list[Message] = []

    @override
    def handle_message(self, message: Message) -> None:
        self.mails.append(message)


@pytest.fixture
def inbox(service: Service) -> Iterator[Inbox]:
    inbox = Inbox()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(inbox, hostname="127.0.0.1", port=port)
    controller.start()
    service.mailer = SmtpMailer(f"smtp://127.0.0.1:{port}", sender="cdp@example.com")
    yield inbox
    controller.stop()


def test_a_failed_load_is_mailed_to_the_admin(
    service: Service, tenant: Onboarded, inbox: Inbox, tmp_path: Path
) -> None:
    grant_export(service, tmp_path / "*.csv", "acme")
    request = LaunchRequest(
        tenant_id="acme", template="gcp/cost/cost_billing", run_date=date(2024, 11, 1)
    )
    run = launch(service, request).run
    Executor(service=service, worker="test").walk("acme", run.run_id)
    (mail,) = inbox.mails
    assert mail["To"] == "finops@acme.example"
    assert mail["Subject"] == "[ALERT] Cost Billing Pipeline Failed - acme"
    body = mail.get_payload(decode=True)
    assert isinstance(body, bytes)
    text = body.decode()
    assert "no file matches the source" in text
    assert "2024-11-01" in text
    with service.database.read() as tx:
        step = {each.step_id: each for each in runs.steps(tx, "acme", run.run_id)}
    assert step["notify_on_failure"].status is Status.COMPLETED
    assert "data-ops@example.com" in step["notify_on_failure"].report["left_out"]
