"""A mail server: how it is reached, and what its answers mean."""

import smtplib
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from urllib.parse import SplitResult, unquote, urlsplit

from convergence.errors import Invalid, StepFailed, StepInterrupted
from convergence.model.cancel import CancelToken
from convergence.outside.leave import or_leave
from convergence.outside.plain import one_line

TIMEOUT = 30
"""Seconds for each exchange with the mail server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where mail goes: `smtp://[user:password@]host[:port][?starttls=1]`, or `smtps://…` for TLS.

    `mode` is plain, starttls or tls.
    """

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    mode: str

    def greet(self, seconds: float) -> None:
        """Connect as a mail would, with this patience for each exchange, and send nothing.

        Raises StepInterrupted and StepFailed, as a Mailer does.
        """
        with _mail_errors(self.host), self._connect(seconds) as smtp:
            smtp.noop()

    def deliver(
        self, message: EmailMessage, sender: str, recipients: Sequence[str], cancel: CancelToken
    ) -> dict[str, str]:
        """Hand it over; give those whom the server refused for good, with its words.

        Raises StepInterrupted and StepFailed, as a Mailer does, and what the token says.
        """
        return or_leave(lambda: self._deliver(message, sender, recipients, cancel), cancel)

    def _deliver(
        self, message: EmailMessage, sender: str, recipients: Sequence[str], cancel: CancelToken
    ) -> dict[str, str]:
        with (
            _mail_errors(self.host),
            self._connect() as smtp,
            cancel.breaking(lambda: _hang_up(smtp)),
        ):
            try:
                refused = smtp.send_message(message, sender, list(recipients))
            except smtplib.SMTPRecipientsRefused as error:
                refused = error.recipients
                if any(code < 500 for code, _ in refused.values()):
                    raise
        return {address: _reason(code, words) for address, (code, words) in refused.items()}

    @contextmanager
    def _connect(self, seconds: float = TIMEOUT) -> Iterator[smtplib.SMTP]:
        name = socket.gethostname()
        if self.mode == "tls":
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                self.host, self.port, name, timeout=seconds, context=ssl.create_default_context()
            )
        else:
            smtp = smtplib.SMTP(self.host, self.port, name, timeout=seconds)
        with smtp:
            if self.mode == "starttls":
                smtp.starttls(context=ssl.create_default_context())
            if self.user:
                smtp.login(self.user, self.password)
            yield smtp


def _hang_up(smtp: smtplib.SMTP) -> None:
    """In the middle of whatever it is at: a mail that is not whole is none."""
    if smtp.sock is not None:
        with suppress(OSError):
            smtp.sock.shutdown(socket.SHUT_RDWR)


def parse_server(url: str) -> Server:
    """Read CDP_SMTP_URL. Raises Invalid, which never repeats the url: it may hold a password."""
    try:
        return _server(urlsplit(url))
    except ValueError:
        raise Invalid(
            "CDP_SMTP_URL is not the url of a mail server",
            code="invalid_smtp_url",
            hint="write smtp://[user:password@]host[:port][?starttls=1], or smtps:// for TLS",
        ) from None


def _server(parts: SplitResult) -> Server:
    """Raises ValueError for what is not understood."""
    ports = {"smtps": (465, "tls"), "smtp": (25, "plain"), "smtp?starttls=1": (587, "starttls")}
    port, mode = ports.get(parts.scheme + (f"?{parts.query}" if parts.query else ""), (0, ""))
    if not mode or not parts.hostname or parts.path.strip("/"):
        raise ValueError("neither smtp:// nor smtps:// with a host")
    return Server(
        host=parts.hostname,
        port=parts.port or port,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        mode=mode,
    )


@contextmanager
def _mail_errors(host: str) -> Iterator[None]:
    try:
        yield
    except smtplib.SMTPRecipientsRefused as error:
        refused = [_reason(code, words) for code, words in error.recipients.values()]
        raise StepInterrupted(
            f"the mail server {host} took no recipient for now: {refused[0]}", code="mail_deferred"
        ) from error
    except smtplib.SMTPResponseException as error:
        words = _reason(error.smtp_code, error.smtp_error)
        kind = StepFailed if error.smtp_code >= 500 else StepInterrupted
        raise kind(f"the mail server {host} refused: {words}", code="mail_refused") from error
    except smtplib.SMTPNotSupportedError as error:
        raise StepFailed(f"the mail server {host}: {error}", code="mail_refused") from error
    except (OSError, smtplib.SMTPException) as error:
        raise StepInterrupted(
            f"the mail server {host} cannot be reached: {one_line(str(error))}",
            code="mail_unavailable",
            hint="check CDP_SMTP_URL and that the server listens",
        ) from error


def _reason(code: int, words: bytes | str) -> str:
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    return f"refused by the mail server: {code} {one_line(text)}"
