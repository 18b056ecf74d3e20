"""`cdp sql`: questions in BigQuery SQL, of a tenant's tables or of the operator's."""

import sys
from typing import Annotated

import typer

from convergence.cli.command import AnyTenant, Call, command
from convergence.cli.statement import answer, explain_statement


def add_to(app: typer.Typer) -> None:
    command(
        app,
        "sql",
        examples=(
            "cdp sql --tenant acme 'SELECT SUM(cost) AS cost FROM billing_cost_daily'",
            "cdp sql -o csv - < question.sql",
        ),
    )(sql)


def sql(
    call: Call,
    *,
    statement: Annotated[
        str,
        typer.Argument(metavar="SELECT", help="BigQuery SQL; - reads stdin; nothing, a dialogue."),
    ] = "",
    tenant: AnyTenant = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what the warehouse would run, and run nothing.")
    ] = False,
) -> None:
    """Ask one read-only question; without a tenant as the operator."""
    if not statement and sys.stdin.isatty():
        from convergence.cli.dialogue import Dialogue

        Dialogue(call, tenant).run()
        return
    text = sys.stdin.read() if statement in {"", "-"} else statement
    if explain:
        explain_statement(call, tenant, text)
    else:
        answer(call, tenant, text, call.format)
