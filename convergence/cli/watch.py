"""`cdp runs logs` and `cdp runs watch`: what happens in runs, while it happens."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convergence.cli.command import AnyTenant, Call, command
from convergence.cli.lines import Severity, event_line, is_at_least
from convergence.cli.output import Format, cell, show_json_line, show_rows, table_lines, write

if TYPE_CHECKING:
    from convergence.client import Client

EVENT_COLUMNS = ("sequence", "at", "level", "step_id", "status", "message", "facts")
RUN_COLUMNS = ("status", "run_date", "pipeline_logging_id", "tenant_id", "pipeline_id", "error")
STEP_COLUMNS = ("status", "step_id", "row_count", "duration_ms", "error")
"""What changes stands first: a narrow terminal cuts the rest."""
NEWEST = 20
LOOK_SECONDS = 1.0


def add_to(app: typer.Typer) -> None:
    command(
        app,
        "logs",
        examples=("cdp runs logs RUN_ID -f", "cdp runs logs RUN_ID --level warning -o jsonl"),
    )(logs)
    command(
        app,
        "watch",
        examples=("cdp runs watch RUN_ID", "cdp runs watch --tenant acme"),
    )(watch)


def logs(
    call: Call,
    *,
    run_id: Annotated[str, typer.Argument(help="The run's id.", metavar="RUN_ID")],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")
    ] = False,
    level: Annotated[
        Severity, typer.Option(case_sensitive=False, help="What matters as much, or more.")
    ] = Severity.debug,
) -> None:
    """Show what happened in a run, in order: changes of status, and lines of its steps."""
    with call.client() as client:
        events = client.events(run_id, follow=follow)
        chosen = (event for event in events if is_at_least(event["level"], level))
        if call.format in (Format.JSON, Format.CSV) and not follow:
            show_rows(list(chosen), EVENT_COLUMNS, call.format)
            return
        for event in chosen:
            _tell(event, event_line, call.format)


def watch(
    call: Call,
    *,
    run_id: Annotated[
        str | None, typer.Argument(help="One run, to its end.", metavar="RUN_ID")
    ] = None,
    tenant: AnyTenant = None,
) -> None:
    """Watch one run until it ends (exit 1 when it fails), or the newest runs until Ctrl-C.

    On a terminal it is a table that stays in its place, else a line for each change.
    """
    from convergence.cli.run import check_completed

    is_live = sys.stdout.isatty() and call.format is Format.TABLE
    with call.client() as client:
        if run_id is None:
            _watch_runs(client, tenant, call.format, is_live=is_live)
        elif is_live:
            check_completed(_draw_run(client, run_id))
        else:
            for event in client.events(run_id, follow=True):
                _tell(event, event_line, call.format)
            check_completed(client.run(run_id))


def _watch_runs(client: "Client", tenant: str | None, form: Format, *, is_live: bool) -> None:
    def newest() -> Iterator[list[dict[str, Any]]]:
        while True:
            yield client.runs(tenant, {}, limit=NEWEST)
            time.sleep(LOOK_SECONDS)

    if is_live:
        with _drawing() as draw:
            for runs in newest():
                draw(table_lines(runs, RUN_COLUMNS))
    told: dict[str, str] = {}
    for runs in newest():
        for run in reversed(runs):
            if told.get(run["pipeline_logging_id"]) != run["status"]:
                _tell(run, _run_line, form)
        told = {run["pipeline_logging_id"]: run["status"] for run in runs}


def _run_line(run: dict[str, Any]) -> str:
    said = "  ".join(str(run[name]) for name in RUN_COLUMNS[:-1])
    return f"{said}  {cell(run['error'])}" if run["error"] else said


def _tell(fact: dict[str, Any], line: Callable[[dict[str, Any]], str], form: Format) -> None:
    if form is Format.TABLE:
        write(line(fact))
    else:
        show_json_line(fact)


@contextmanager
def _drawing() -> Iterator[Callable[[Sequence[str]], None]]:
    """Draw lines where the last ones stood; a line wider than the terminal is cut."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(), auto_refresh=False) as live:
        yield lambda lines: live.update(
            Text("\n".join(lines), no_wrap=True, overflow="ellipsis"), refresh=True
        )


def _draw_run(client: "Client", run_id: str) -> dict[str, Any]:
    """The run with its steps, drawn anew with each event, above the newest lines of its log."""
    lines: list[str] = []
    run = client.run(run_id)
    with _drawing() as draw:
        for event in client.events(run_id, follow=True):
            lines = [*lines[-9:], event_line(event)]
            run = client.run(run_id)
            steps = table_lines(run["steps"], STEP_COLUMNS)
            draw([*table_lines([run], RUN_COLUMNS), "", *steps, "", *lines])
    return run
