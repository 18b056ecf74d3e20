"""A mail server that speaks TLS: its certificate decides."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path
from threading import Event, Timer

import pytest
from aiosmtpd.handlers import Sink
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from convergence.errors import Cancelled, StepInterrupted
from convergence.model.cancel import CancelToken
from convergence.outside.smtp import parse_server

NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
START, DAYS = datetime(2024, 1, 1, tzinfo=UTC), timedelta(days=36_500)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that signs itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder(NAME, NAME, key.public_key(), 1, START, START + DAYS)
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    signed = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture(params=["smtps", "starttls"])
def url(request: pytest.FixtureRequest, listen: Callable[..., int], context: ssl.SSLContext) -> str:
    if request.param == "smtps":
        return f"smtps://127.0.0.1:{listen(Sink(), ssl_context=context)}"
    port = listen(Sink(), tls_context=context, require_starttls=True)
    return f"smtp://127.0.0.1:{port}?starttls=1"


def send(url: str) -> dict[str, str]:
    return deliver(url, CancelToken())


def deliver(url: str, cancel: CancelToken) -> dict[str, str]:
    message = EmailMessage()
    message.set_content("text")
    return parse_server(url).deliver(message, "cdp@host.example", ["a@b.example"], cancel)


def test_a_trusted_server_gets_the_mail(
    url: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert send(url) == {}


def test_a_server_that_nobody_vouches_for_gets_nothing(url: str) -> None:
    with pytest.raises(StepInterrupted, match="CERTIFICATE_VERIFY_FAILED"):
        send(url)


def test_a_server_that_never_answers_holds_up_no_cancel() -> None:
    cancel = CancelToken()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        Timer(0.1, cancel.trip, (Cancelled("enough"),)).start()
        with pytest.raises(Cancelled, match="enough"):
            deliver(f"smtp://127.0.0.1:{silent.getsockname()[1]}", cancel)


def test_a_mail_under_way_is_broken_off(listen: Callable[..., int]) -> None:
    handler = Hanging()
    url = f"smtp://127.0.0.1:{listen(handler)}"
    with pytest.raises(Cancelled, match="enough"):
        deliver(url, handler.cancel)
    assert handler.hung_up.wait(60)


class Hanging:
    """Cancels who sends a mail, and sees him hang up."""

    def __init__(self) -> None:
        self.cancel = CancelToken()
        self.hung_up = Event()

    async def handle_DATA(self, *_: object) -> str:  # noqa: N802 - aiosmtpd's name
        self.cancel.trip(Cancelled("enough"))
        try:
            await asyncio.sleep(60)
        finally:
            self.hung_up.set()
        return "250 too late"


def test_the_default_ports_are_those_of_mail() -> None:
    urls = ("smtp://h", "smtp://h?starttls=1", "smtps://h", "smtp://[::1]:26")
    assert [parse_server(each).port for each in urls] == [25, 587, 465, 26]
