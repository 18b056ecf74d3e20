"""Mail to people: what a mail is, and who may get it."""

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from hashlib import sha256
from typing import Protocol

from typing_extensions import override

from convergence.errors import Invalid
from convergence.model.cancel import CancelToken
from convergence.outside.clock import Clock, SystemClock
from convergence.outside.plain import one_line, plain_lines
from convergence.outside.smtp import parse_server

MAX_RECIPIENTS = 50
MAX_TEXT = 100_000
NO_SERVER = "no mail server is set (CDP_SMTP_URL)"
NOT_ALLOWED = "neither the tenant's address nor in CDP_ALERT_ALLOW"

_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_WORD = "[A-Za-z0-9_'+=~&#-]+"
ADDRESS = re.compile(
    r"(?=.{3,254}\Z)(?=[^@]{1,64}@)(?!-)" + rf"{_WORD}(?:\.{_WORD})*@{_LABEL}(?:\.{_LABEL})*"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """What a step wants to send. Everything may come from a template and is not trusted."""

    to: Sequence[str]
    subject: str
    text: str
    cc: Sequence[str] = ()
    bcc: Sequence[str] = ()
    sender: str | None = None
    """Used when the operator allows it; else the operator's own sender is."""
    message_id: str = ""
    """Ours alone: with it, a mail that is sent twice can be told to be the same."""

    @property
    def wanted(self) -> tuple[str, ...]:
        """All recipients, each once."""
        return tuple(dict.fromkeys((*self.to, *self.cc, *self.bcc)))


@dataclass(frozen=True, slots=True, kw_only=True)
class MailReport:
    """Who got it, and why others did not: address to reason."""

    sent_to: tuple[str, ...]
    left_out: Mapping[str, str]


class Mailer(Protocol):
    def send(
        self, mail: Mail, *, always_allowed: Set[str], cancel: CancelToken | None = None
    ) -> MailReport:
        """Send to the addresses that are allowed; the others are left out, which is no error.

        Raises StepInterrupted when the server cannot be reached or asks to try again, StepFailed
        when it refuses for good, and at once what `cancel` says when it is tripped.
        """
        ...


class NoMailer(Mailer):
    """Stands in when no mail server is set: sends nothing and says so."""

    @override
    def send(
        self, mail: Mail, *, always_allowed: Set[str], cancel: CancelToken | None = None
    ) -> MailReport:
        return MailReport(sent_to=(), left_out=dict.fromkeys(mail.wanted, NO_SERVER))


class SmtpMailer(Mailer):
    """Sends through the server of CDP_SMTP_URL, as `sender`.

    `allow` are the addresses that any template may write to. Raises Invalid for a wrong url or
    sender.
    """

    def __init__(
        self, url: str, *, sender: str, allow: Set[str] = frozenset(), clock: Clock | None = None
    ) -> None:
        self._server = parse_server(url)
        self._sender = check_address(sender)
        self._allow = frozenset(check_address(address).lower() for address in allow)
        self._clock = clock or SystemClock()

    @override
    def send(
        self, mail: Mail, *, always_allowed: Set[str], cancel: CancelToken | None = None
    ) -> MailReport:
        allowed = self._allow | {address.lower() for address in always_allowed}
        recipients, left_out = _sort(mail, allowed)
        if not recipients:
            return MailReport(sent_to=(), left_out=left_out)
        sender = self._sender
        if mail.sender and mail.sender.lower() in self._allow:
            sender = check_address(mail.sender)
        elif mail.sender and mail.sender != sender:
            left_out[one_line(mail.sender)] = "not used as sender: not in CDP_ALERT_ALLOW"
        message = self._message(mail, sender, set(recipients))
        refused = self._server.deliver(message, self._sender, recipients, cancel or CancelToken())
        return MailReport(
            sent_to=tuple(address for address in recipients if address not in refused),
            left_out=left_out | refused,
        )

    def _message(self, mail: Mail, sender: str, recipients: Set[str]) -> EmailMessage:
        message = EmailMessage(policy=SMTP)
        message["From"] = sender
        for header, addresses in (("To", mail.to), ("Cc", mail.cc)):
            shown = [address for address in addresses if address in recipients]
            if shown:
                message[header] = ", ".join(dict.fromkeys(shown))
        message["Subject"] = one_line(mail.subject)
        message["Date"] = format_datetime(self._clock.now())
        message["Message-ID"] = _message_id(mail, domain=self._sender.partition("@")[2])
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(plain_lines(mail.text[:MAX_TEXT]))
        return message


def _message_id(mail: Mail, *, domain: str) -> str:
    if not mail.message_id:
        return make_msgid(domain=domain)
    return f"<{sha256(mail.message_id.encode()).hexdigest()[:32]}@{domain}>"


def is_address(text: str) -> bool:
    """True for one plain ASCII address: no name, quotes, comment, route, list or line end."""
    return ADDRESS.fullmatch(text) is not None


def check_address(text: str) -> str:
    """Give the address back, or raise Invalid."""
    if not is_address(text):
        raise Invalid(
            f"{one_line(text)!r} is not a mail address",
            code="invalid_email",
            hint="one plain address, such as name@example.com",
        )
    return text


def _sort(mail: Mail, allowed: Set[str]) -> tuple[list[str], dict[str, str]]:
    """Those who may get the mail, and the others with the reason. `allowed` is lower case."""
    recipients: list[str] = []
    left_out: dict[str, str] = {}
    for address in mail.wanted:
        if not is_address(address):
            left_out[one_line(address)] = "not a mail address"
        elif address.lower() not in allowed:
            left_out[address] = NOT_ALLOWED
        elif len(recipients) == MAX_RECIPIENTS:
            left_out[address] = f"more than {MAX_RECIPIENTS} recipients"
        else:
            recipients.append(address)
    return recipients, left_out
