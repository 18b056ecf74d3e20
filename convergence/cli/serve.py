"""`cdp serve`: the server of one home, with its worker; from the lock to the last answer."""

import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EADDRINUSE
from typing import TYPE_CHECKING, Annotated

import typer

from convergence.cli.command import Call, command
from convergence.cli.output import say
from convergence.errors import Conflict, Invalid, Unavailable

if TYPE_CHECKING:
    from fastapi import FastAPI

    from convergence.engine.service import Service
    from convergence.settings.fields import Settings

DRAIN_SECONDS = 10
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a wildcard is reached


def add_to(app: typer.Typer) -> None:
    command(
        app,
        "serve",
        examples=("cdp serve", "cdp serve --host 0.0.0.0 --port 9000 --no-worker"),
    )(serve)


def serve(
    call: Call,
    *,
    host: Annotated[str | None, typer.Option(help="Listen here; else CDP_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="0 takes a free port; else CDP_PORT.")] = None,
    no_worker: Annotated[
        bool, typer.Option("--no-worker", help="Accept runs, and leave them for a worker.")
    ] = False,
) -> None:
    """Serve the API, and execute runs, until Ctrl-C or SIGTERM."""
    from convergence.cli.connect import read_settings
    from convergence.outside.home import Home

    settings = read_settings(call.home, host=host, port=port)
    home = Home(settings.home)
    if not settings.home.exists():
        _check_start(settings)
    home.ensure()
    with home.lock() as lock, listen(settings.host, settings.port) as listening:
        url = url_of(listening)
        run_server(
            settings,
            listening,
            announce=lambda: lock.announce(url),
            with_worker=not no_worker,
            with_link=sys.stderr.isatty(),
        )


def _check_start(settings: "Settings") -> None:
    """What would end the start, so that a refused one leaves no home behind."""
    from convergence.outside.secrets import check_given
    from convergence.settings.fields import text_of

    check_given(
        pepper=text_of(settings.pepper),
        admin_key=text_of(settings.admin_key),
        environment=settings.environment,
    )
    listen(settings.host, settings.port).close()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises Conflict when the port is taken, Invalid for a bad address."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((str(address[0]), port), family=family, backlog=1024)
    except OSError as error:
        if error.errno == EADDRINUSE:
            raise Conflict(
                f"port {port} on {host} is in use by another program",
                code="port_in_use",
                hint="stop it, or choose another port: --port N (or CDP_PORT)",
            ) from error
        raise Invalid(
            f"cannot listen on {host} port {port}: {error.strerror or error}",
            code="cannot_listen",
            hint="choose an address of this machine and a port that this user may open",
        ) from error


def url_of(listening: socket.socket) -> str:
    """How a command on this machine reaches it."""
    host, port = listening.getsockname()[:2]
    host = ANYWHERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run_server(
    settings: "Settings",
    listening: socket.socket,
    *,
    announce: Callable[[], None],
    with_worker: bool,
    with_link: bool,
) -> None:
    """Open the parts, so that what is wrong is said here; then answer until a signal ends it."""
    from convergence.engine.signin import make_link
    from convergence.server import create_app

    with opened(settings) as service:

        def ready() -> None:
            announce()
            _tell(settings, url_of(listening), with_worker=with_worker)
            is_mine = settings.environment == "development" and not settings.disable_auth
            if is_mine and with_link:
                link = url_of(listening) + make_link(service, None)
                say(f"dashboard: {link} (signs the operator in, once, for ten minutes)")

        answer(create_app(service, with_worker=with_worker), listening, service, ready)
    say("stopped")


@contextmanager
def opened(settings: "Settings") -> Iterator["Service"]:
    """The parts with an open store at its schema, and a log that ends with them."""
    from convergence import wiring
    from convergence.engine.store_schema import check_store
    from convergence.outside.logs import Logs

    service = wiring.build(settings)
    folder = service.home.path / "logs"
    secrets = (*settings.secret_values(), *service.secrets.values)
    is_watched = sys.stderr.isatty()
    logs = Logs(folder, level=settings.log_level, secrets=secrets, terminal=is_watched)
    try:
        check_store(service.database)
        yield service
    finally:
        logs.close()


def answer(
    app: "FastAPI", listening: socket.socket, service: "Service", ready: Callable[[], None]
) -> None:
    """Answer until a signal ends it, which may come as soon as `ready` was called.

    Raises Unavailable when the application does not start.
    """
    import uvicorn

    from convergence.server import Server

    server = Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
    )

    def end(_number: int, _frame: object) -> None:
        """Also before the server watches for signals, and when it raises its own again."""
        server.should_exit = True

    signal.signal(signal.SIGTERM, end)
    ready()
    server.run(sockets=[listening])
    if not server.started:
        raise Unavailable(
            "the server could not start",
            code="start_failed",
            hint=f"see {service.home.path / 'logs' / 'cdp.log'}",
        )


def _tell(settings: "Settings", url: str, *, with_worker: bool) -> None:
    key = "CDP_ADMIN_KEY" if settings.admin_key else str(settings.home / "admin.key")
    say(f"serving {settings.home} at {url}" + ("" if with_worker else ", without a worker"))
    say("no keys are needed (DISABLE_AUTH)" if settings.disable_auth else f"operator's key: {key}")
    say(f"log: {settings.home / 'logs' / 'cdp.log'}; stop with Ctrl-C")
