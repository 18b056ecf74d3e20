"""`cdp doctor`: what is looked at before asking for help; each row says what was seen and to do."""

import typer

from convergence.cli.command import Call, command
from convergence.cli.output import show_rows

COLUMNS = ("check", "status", "seen", "fix")


def add_to(app: typer.Typer) -> None:
    command(app, "doctor", examples=("cdp doctor", "cdp doctor -o json"))(doctor)


def doctor(call: Call) -> None:
    """Check this machine, the home and what is in it; exit 1 when something is broken."""
    from convergence.cli.checkup import FAIL, checkup

    rows = checkup(call.settings())
    show_rows(rows, COLUMNS, call.format)
    if any(row["status"] == FAIL for row in rows):
        raise typer.Exit(1)
