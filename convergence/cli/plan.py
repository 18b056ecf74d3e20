"""`cdp plan`: what a run would do, and what would stop it; nothing is changed."""

from typing import Annotated

import typer

from convergence.cli.command import Call, Tenant, command


def add_to(app: typer.Typer) -> None:
    command(
        app,
        "plan",
        examples=(
            "cdp plan gcp/cost/cost_billing --tenant acme --date 2024-11-01",
            "cdp plan gcp/cost/cost_billing -t acme -o json",
        ),
    )(plan)


def plan(
    call: Call,
    *,
    template: Annotated[str, typer.Argument(metavar="PROVIDER/DOMAIN/TEMPLATE")],
    tenant: Tenant,
    date: Annotated[
        str | None,
        typer.Option(metavar="YYYY-MM-DD", help="The usage day; else yesterday (UTC)."),
    ] = None,
    var: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A variable of the template; repeatable."),
    ] = None,
    sql: Annotated[
        bool, typer.Option("--sql", help="In the table too: the SQL that the warehouse runs.")
    ] = False,
) -> None:
    """Show what a run would do: values, steps, SQL, files, quota; change nothing."""
    from convergence.cli.planned import show_plan
    from convergence.cli.run import wanted_run

    wanted = {**wanted_run(date, var or ()), "trigger_by": "cli"}
    show_plan(call, tenant, template, wanted, with_sql=sql)
