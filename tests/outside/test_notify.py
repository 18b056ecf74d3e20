"""Mail, against a real SMTP server."""

from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from hypothesis import given
from hypothesis import strategies as st

from convergence.errors import Invalid, StepFailed, StepInterrupted
from convergence.outside.clock import Clock
from convergence.outside.notify import Mail, NoMailer, SmtpMailer, check_address, is_address

ADMIN = frozenset({"admin@acme.example"})
LIST = "data-ops@example.com"
CEO = "ceo@acme.example"


@dataclass
class Inbox:
    """Keeps what arrives; answers as it is told to."""

    refuse: dict[str, str] = field(default_factory=dict)
    answer: str = "250 OK"
    envelopes: list[Envelope] = field(default_factory=list)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _: SMTP, __: Session, envelope: Envelope, address: str, ___: list[str]
    ) -> str:
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, _: SMTP, __: Session, envelope: Envelope
    ) -> str:
        self.envelopes.append(envelope)
        return self.answer

    def messages(self) -> list[EmailMessage]:
        contents = [each.content for each in self.envelopes if isinstance(each.content, bytes)]
        return [message_from_bytes(each, EmailMessage, policy=default) for each in contents]

    def message(self) -> EmailMessage:
        (message,) = self.messages()
        return message


def _login(
    server: SMTP, session: Session, envelope: Envelope, how: str, data: object
) -> AuthResult:
    good = LoginPassword(login=b"cdp", password=b"p@ss/word")
    return AuthResult(success=data == good, handled=False)


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def port(inbox: Inbox, listen: Callable[..., int]) -> int:
    return listen(inbox, authenticator=_login, auth_require_tls=False)


@pytest.fixture
def mailer(port: int, clock: Clock) -> SmtpMailer:
    return SmtpMailer(
        f"smtp://127.0.0.1:{port}", sender="cdp@host.example", allow={LIST}, clock=clock
    )


def mail(*to: str, subject: str = "Failed", text: str = "It failed.") -> Mail:
    return Mail(to=to, subject=subject, text=text)


def test_a_mail_arrives_with_its_headers_and_body(mailer: SmtpMailer, inbox: Inbox) -> None:
    text = "Grüße\n.\nline 2\n"
    report = mailer.send(
        mail("admin@acme.example", subject="[ALERT] Größe", text=text), always_allowed=ADMIN
    )
    assert (report.sent_to, report.left_out) == (("admin@acme.example",), {})
    message = inbox.message()
    assert message["From"] == "cdp@host.example"
    assert message["To"] == "admin@acme.example"
    assert message["Subject"] == "[ALERT] Größe"
    assert message["Date"] == "Fri, 01 Nov 2024 12:00:00 +0000"
    assert message["Message-ID"].endswith("@host.example>")
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content().replace("\r\n", "\n") == text


def test_a_mail_that_is_sent_twice_has_one_id(mailer: SmtpMailer, inbox: Inbox) -> None:
    for told in ("a", "a", "b"):
        sent = Mail(to=("admin@acme.example",), subject="s", text="t", message_id=told)
        mailer.send(sent, always_allowed=ADMIN)
    ids = [str(each.content).partition("Message-ID: ")[2][:30] for each in inbox.envelopes]
    assert ids[0] == ids[1] != ids[2]


def test_others_than_the_tenant_and_the_list_are_left_out(mailer: SmtpMailer, inbox: Inbox) -> None:
    report = mailer.send(
        Mail(
            to=("Admin@Acme.example", "eve@evil.example"),
            cc=(LIST,),
            bcc=("mallory@evil.example",),
            subject="s",
            text="t",
        ),
        always_allowed=ADMIN,
    )
    assert report.sent_to == ("Admin@Acme.example", LIST)
    assert set(report.left_out) == {"eve@evil.example", "mallory@evil.example"}
    assert "CDP_ALERT_ALLOW" in report.left_out["eve@evil.example"]
    assert inbox.envelopes[0].rcpt_tos == ["Admin@Acme.example", LIST]
    assert (inbox.message()["To"], inbox.message()["Cc"]) == ("Admin@Acme.example", LIST)
    assert "evil" not in str(inbox.message())


def test_a_blind_copy_stays_blind(mailer: SmtpMailer, inbox: Inbox) -> None:
    sent = Mail(to=("admin@acme.example",), bcc=(LIST,), subject="s", text="t")
    mailer.send(sent, always_allowed=ADMIN)
    assert inbox.envelopes[0].rcpt_tos == ["admin@acme.example", LIST]
    assert LIST not in str(inbox.message())


def test_nobody_allowed_means_no_connection(clock: Clock) -> None:
    mailer = SmtpMailer("smtp://127.0.0.1:1", sender="cdp@host.example", clock=clock)
    report = mailer.send(mail("eve@evil.example"), always_allowed=ADMIN)
    assert (report.sent_to, set(report.left_out)) == ((), {"eve@evil.example"})


def test_a_template_may_use_an_allowed_sender_alone(mailer: SmtpMailer, inbox: Inbox) -> None:
    asked = [Mail(to=(LIST,), subject="s", text="t", sender=each) for each in (LIST, CEO)]
    reports = [mailer.send(each, always_allowed=ADMIN) for each in asked]
    assert [list(report.left_out) for report in reports] == [[], [CEO]]
    senders = [message["From"] for message in inbox.messages()]
    assert senders == [LIST, "cdp@host.example"]
    assert {each.mail_from for each in inbox.envelopes} == {"cdp@host.example"}


INJECTIONS = [
    "admin@acme.example\r\nRCPT TO:<evil@x.example>",
    "admin@acme.example, evil@x.example",
    "admin@acme.example\n",
    '"admin@acme.example, evil"@x.example',
    "admin@acme.example evil@x.example",
    "Admin <admin@acme.example>",
    "<admin@acme.example>",
    "@x.example:admin@acme.example",
    "admin%acme.example@x.example",
    "admin@acme.example\0",
    "admin@acme\u3002example",
    "\u0430dmin@acme.example",
    "admin@\u0430cme.example",
    "admin@acme.example\u2028x",
    "admin@[127.0.0.1]",
    "-oQ/tmp@acme.example",
    "a..b@acme.example",
    ".a@acme.example",
    "a@-acme.example",
    "a@acme..example",
    "a" * 65 + "@acme.example",
    "a@" + "b." * 130 + "example",
    "admin",
    "@acme.example",
    "admin@",
    "",
]


@pytest.mark.parametrize("address", INJECTIONS)
def test_a_tricky_address_gets_nothing(mailer: SmtpMailer, inbox: Inbox, address: str) -> None:
    report = mailer.send(mail(address, LIST), always_allowed=ADMIN | {address})
    assert report.sent_to == (LIST,)
    assert list(report.left_out.values()) == ["not a mail address"]
    assert inbox.envelopes[0].rcpt_tos == [LIST]
    with pytest.raises(Invalid, match="is not a mail address"):
        check_address(address)


@pytest.mark.parametrize(
    "end", ["\r\n", "\n", "\r", "\v", "\f", "\x1c", "\u2028", "\u2029", "\x85"]
)
def test_a_subject_cannot_add_a_header(mailer: SmtpMailer, inbox: Inbox, end: str) -> None:
    subject = f"Failed{end}Bcc: evil@x.example{end}{end}body"
    mailer.send(mail(LIST, subject=subject), always_allowed=ADMIN)
    assert inbox.message()["Bcc"] is None
    assert inbox.message()["Subject"] == "Failed Bcc: evil@x.example body"


def test_a_body_cannot_end_the_mail(mailer: SmtpMailer, inbox: Inbox) -> None:
    text = "one\r\n.\r\nMAIL FROM:<a@b.c>\r\n\0\x1b[2J\ud800\rend"
    mailer.send(mail(LIST, text=text), always_allowed=ADMIN)
    body = inbox.message().get_content()
    assert body.splitlines()[:3] == ["one", ".", "MAIL FROM:<a@b.c>"]
    assert "\x1b" not in body


@given(subject=st.text(), text=st.text(max_size=200), sender=st.none() | st.text())
def test_any_text_makes_one_valid_message(
    shared_mailer: Callable[[Mail], bytes], subject: str, text: str, sender: str | None
) -> None:
    content = shared_mailer(Mail(to=(LIST,), subject=subject, text=text, sender=sender))
    names = [name for name, _ in message_from_bytes(content).items()]
    assert names == [
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted",
        "Content-Type", "Content-Transfer-Encoding", "MIME-Version",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def shared_mailer() -> Callable[[Mail], bytes]:
    mailer = SmtpMailer("smtp://127.0.0.1:1", sender="cdp@host.example", allow={LIST})
    return lambda asked: mailer._message(asked, "cdp@host.example", {LIST}).as_bytes()


def test_login_uses_the_urls_user_and_password(port: int, inbox: Inbox) -> None:
    url = f"smtp://cdp:p%40ss%2Fword@127.0.0.1:{port}"
    SmtpMailer(url, sender="cdp@host.example", allow={LIST}).send(mail(LIST), always_allowed=ADMIN)
    assert len(inbox.envelopes) == 1


def test_a_refused_login_fails_for_good_and_keeps_the_password(port: int) -> None:
    mailer = SmtpMailer(f"smtp://cdp:canary@127.0.0.1:{port}", sender="a@b.c", allow={LIST})
    with pytest.raises(StepFailed, match="535") as failed:
        mailer.send(mail(LIST), always_allowed=ADMIN)
    assert not isinstance(failed.value, StepInterrupted)
    assert "canary" not in f"{failed.value}{failed.value.hint}{mailer.__dict__}"


def test_a_refused_recipient_is_reported_and_the_others_get_it(
    mailer: SmtpMailer, inbox: Inbox
) -> None:
    inbox.refuse = {LIST: "550 no such\tmailbox"}
    report = mailer.send(mail(LIST, "admin@acme.example"), always_allowed=ADMIN)
    assert report.sent_to == ("admin@acme.example",)
    assert report.left_out == {LIST: "refused by the mail server: 550 no such mailbox"}


def test_all_recipients_refused_is_no_error(mailer: SmtpMailer, inbox: Inbox) -> None:
    inbox.refuse = {LIST: "550 no such mailbox"}
    report = mailer.send(mail(LIST), always_allowed=ADMIN)
    assert (report.sent_to, set(report.left_out)) == ((), {LIST})


@pytest.mark.parametrize("answer", ["451 later", "421 going away"])
def test_a_server_that_asks_for_patience_interrupts(
    mailer: SmtpMailer, inbox: Inbox, answer: str
) -> None:
    inbox.answer = answer
    with pytest.raises(StepInterrupted, match=answer[:3]):
        mailer.send(mail(LIST), always_allowed=ADMIN)


def test_recipients_refused_for_now_interrupt(mailer: SmtpMailer, inbox: Inbox) -> None:
    inbox.refuse = {LIST: "450 greylisted"}
    with pytest.raises(StepInterrupted, match="greylisted"):
        mailer.send(mail(LIST), always_allowed=ADMIN)


def test_a_message_refused_for_good_fails(mailer: SmtpMailer, inbox: Inbox) -> None:
    inbox.answer = "554 spam"
    with pytest.raises(StepFailed, match="554 spam"):
        mailer.send(mail(LIST), always_allowed=ADMIN)


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_a_server_that_is_down_interrupts(scheme: str) -> None:
    mailer = SmtpMailer(f"{scheme}://127.0.0.1:1", sender="cdp@host.example", allow={LIST})
    with pytest.raises(StepInterrupted, match="cannot be reached") as failed:
        mailer.send(mail(LIST), always_allowed=ADMIN)
    assert "CDP_SMTP_URL" in failed.value.hint


def test_starttls_is_never_given_up_silently(port: int, inbox: Inbox) -> None:
    url = f"smtp://127.0.0.1:{port}?starttls=1"
    with pytest.raises(StepFailed, match="STARTTLS"):
        SmtpMailer(url, sender="a@b.c", allow={LIST}).send(mail(LIST), always_allowed=ADMIN)
    assert inbox.envelopes == []


@pytest.mark.parametrize(
    "url",
    ["http://h", "smtp://", "smtp://h:canary", "smtp://h/path", "smtp://h?starttls=2", "mail", ""],
)
def test_a_wrong_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(Invalid, match="CDP_SMTP_URL") as refused:
        SmtpMailer(url, sender="cdp@host.example")
    assert "canary" not in f"{refused.value}{refused.value.__cause__}"


def test_without_a_server_everyone_is_left_out_with_the_reason() -> None:
    report = NoMailer().send(mail(LIST, "admin@acme.example"), always_allowed=ADMIN)
    assert report.sent_to == ()
    reason = "no mail server is set (CDP_SMTP_URL)"
    assert report.left_out == {LIST: reason, "admin@acme.example": reason}


def test_a_mail_has_at_most_fifty_recipients(mailer: SmtpMailer) -> None:
    many = [f"u{n}@acme.example" for n in range(60)]
    report = mailer.send(mail(*many), always_allowed=frozenset(many))
    assert (len(report.sent_to), len(report.left_out)) == (50, 10)


@given(st.text())
def test_an_address_is_ascii_with_one_at(text: str) -> None:
    if is_address(text):
        assert text.isascii()
        assert text.isprintable()
        assert text.count("@") == 1


@given(st.emails())
def test_ordinary_addresses_are_addresses(address: str) -> None:
    local = address.partition("@")[0]
    assert is_address(address) or not local.replace(".", "").isalnum()
