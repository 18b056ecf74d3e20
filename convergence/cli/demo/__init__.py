"""`cdp demo`: from nothing to a working service with two tenants' bills, without a question."""

from typing import TYPE_CHECKING, Annotated

import typer

from convergence.cli.command import Call, command
from convergence.cli.output import say

if TYPE_CHECKING:
    from convergence.engine.sample import Made
    from convergence.engine.service import Service
    from convergence.model.sample.export import Sample
    from convergence.settings.fields import Settings


def add_to(app: typer.Typer) -> None:
    command(app, "demo", examples=("cdp demo", "cdp demo --no-serve --home /tmp/demo"))(demo)


def demo(
    call: Call,
    *,
    no_serve: Annotated[
        bool, typer.Option("--no-serve", help="End after the costs; start no server.")
    ] = False,
    reset: Annotated[
        bool, typer.Option("--reset", help="Clear what an earlier demo made, and begin anew.")
    ] = False,
    port: Annotated[
        int | None, typer.Option(help="Of the dashboard; 0 takes a free one; else CDP_PORT.")
    ] = None,
) -> None:
    """Sample bills, two tenants, real runs, their costs, and the dashboard. Repeatable."""
    from contextlib import nullcontext

    from convergence.cli.connect import read_settings
    from convergence.cli.demo import place
    from convergence.cli.serve import listen, run_server, url_of

    settings = read_settings(call.home, port=port)
    place.check(call, settings)  # before the port: a demo that runs has it
    listening = nullcontext() if no_serve else listen(settings.host, settings.port)
    with listening as socket, place.taken(settings, reset=reset) as lock:
        show(call, settings)
        if socket is not None:
            url = url_of(socket)
            run_server(
                settings,
                socket,
                announce=lambda: lock.announce(url),
                with_worker=True,
                with_link=True,  # wherever it is read: there is nothing but a sample behind it
            )


def show(call: Call, settings: "Settings") -> None:
    """Everything but the dashboard: load what is missing, and print what it cost."""
    from convergence import wiring
    from convergence.cli.demo import place, report
    from convergence.engine import demo as engine
    from convergence.outside.logs import Logs

    service = wiring.build(settings)
    secrets = (*settings.secret_values(), *service.secrets.values)
    logs = Logs(service.home.path / "logs", level=settings.log_level, secrets=secrets)
    try:
        made = _sample(service, place.window(service.home))
        engine.settle(service, made)
        names = " and ".join(guest.tenant_id for guest in engine.GUESTS)
        say(f"tenants {names}: keys in {service.home.path / engine.KEYS}")
        _load(service, made)
        report.show(service, made, call)
    finally:
        service.close()
        logs.close()


def _sample(service: "Service", wanted: "Sample") -> "Made":
    from convergence import wiring
    from convergence.cli.progress import bar
    from convergence.engine import sample

    folder = service.home.path / "sample"
    with wiring.export_writer() as writer, bar("sample export, files") as advance:
        made = sample.make(folder, wanted, writer, progress=advance)
    say(f"sample: {wanted.days} days until {wanted.last}, in {folder}")
    return made


def _load(service: "Service", made: "Made") -> None:
    from convergence.cli.progress import bar
    from convergence.engine import demo as engine

    wanted = engine.missing(service, made)
    if not wanted:
        say("runs: nothing is missing")
        return
    with bar(f"runs of {engine.TEMPLATE}") as advance:
        engine.load(service, wanted, lambda ended: advance(ended, len(wanted)))
