"""`cdp worker`: executes runs for the servers on the same PostgreSQL; has no API."""

import signal
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from convergence.cli import serve
from convergence.cli.command import Call, command
from convergence.cli.output import say

if TYPE_CHECKING:
    from convergence.settings.fields import Settings


def add_to(app: typer.Typer) -> None:
    command(app, "worker", examples=("cdp worker", "cdp worker --home /srv/w2 --port 9100"))(worker)


def worker(
    call: Call,
    *,
    port: Annotated[
        int | None, typer.Option(help="Answer /health and /metrics here; else nothing listens.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="On this address; else CDP_HOST.")] = None,
) -> None:
    """Execute runs, and nothing else, until Ctrl-C or SIGTERM."""
    from convergence.cli.connect import read_settings
    from convergence.outside.home import Home

    settings = read_settings(call.home, host=host, port=port)
    home = Home(settings.home)
    home.ensure()
    with home.lock():
        if port is None:
            _work(settings)
        else:
            _work_and_answer(settings)
    say("stopped")


def _work(settings: "Settings") -> None:
    from convergence.engine.serve import start

    ended = threading.Event()

    def end(number: int, _frame: object) -> None:
        """In good order at the first signal, at once at the second."""
        signal.signal(number, signal.SIG_DFL)
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    with serve.opened(settings) as service:
        serving = start(service, with_worker=True)
        _tell(settings, has_files=serving.has_files)
        ended.wait()
        serving.stop()


def _work_and_answer(settings: "Settings") -> None:
    from convergence.engine.agree import claim_files
    from convergence.server import WORKER_ROOMS, create_app

    with (
        serve.listen(settings.host, settings.port) as listening,
        serve.opened(settings) as service,
    ):
        url, has_files = serve.url_of(listening), claim_files(service)
        app = create_app(service, with_worker=True, rooms=WORKER_ROOMS, pages=())
        serve.answer(app, listening, service, lambda: _tell(settings, has_files=has_files, url=url))


def _tell(settings: "Settings", *, has_files: bool, url: str = "") -> None:
    where = f"; its health is at {url}/health" if url else ""
    say(f"working in {settings.home}{where}")
    if not has_files:
        say(
            "another home has the tenants' tables: loads are executed there, by one process; "
            "this worker takes the runs without a load"
        )
    say(f"log: {settings.home / 'logs' / 'cdp.log'}; stop with Ctrl-C")
