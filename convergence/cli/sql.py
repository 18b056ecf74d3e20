"""`cdp sql`: one question in BigQuery SQL, of a tenant's tables or of the operator's."""

import sys
from typing import Annotated

import typer

from convergence.cli.command import AnyTenant, Call, command
from convergence.cli.output import say, show_rows


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
        str, typer.Argument(metavar="SELECT", help="BigQuery SQL; - or nothing reads stdin.")
    ] = "-",
    tenant: AnyTenant = None,
) -> None:
    """Ask one read-only question; without a tenant as the operator."""
    text = sys.stdin.read() if statement == "-" else statement
    with call.client() as client:
        result = client.query(tenant, text)
    columns = _unique([column["name"] for column in result["columns"]])
    rows = [dict(zip(columns, row, strict=True)) for row in result["rows"]]
    show_rows(rows, columns, call.format, null="NULL")
    if result["truncated"]:
        say(f"cut off after {result['row_count']} rows: add a LIMIT, or aggregate")


def _unique(names: list[str]) -> list[str]:
    """Names of columns; one that comes again gets a number, so that no value is lost."""
    return [
        f"{name}_{names[:place].count(name)}" if name in names[:place] else name
        for place, name in enumerate(names)
    ]
