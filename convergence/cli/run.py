"""`cdp run`: run a template for a tenant and a day, and wait for its end."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from convergence.cli.command import Call, Tenant, command
from convergence.cli.output import say, show_record
from convergence.errors import Invalid, StepFailed


def add_to(app: typer.Typer) -> None:
    command(
        app,
        "run",
        examples=(
            "cdp run gcp/cost/cost_billing --tenant acme --date 2024-11-01",
            "cdp run gcp/cost/cost_billing -t acme --var source_billing_table=local.billing.export",
        ),
    )(run)


def run(
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
    trigger_by: Annotated[str, typer.Option(help="Who or what asks for it.")] = "cli",
    allow_shrink: Annotated[
        bool, typer.Option("--allow-shrink", help="Accept a source that lost rows.")
    ] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Leave it to the server; print what was accepted.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what it would do, as cdp plan does.")
    ] = False,
) -> None:
    """Run a template for a tenant and a day; exit 1 when the run fails."""
    from convergence.cli.planned import show_plan
    from convergence.cli.runs import show_run
    from convergence.model.template import check_ref

    wanted = {**wanted_run(date, var or ()), "trigger_by": trigger_by}
    if allow_shrink:
        wanted["allow_shrink"] = True
    if dry_run:
        show_plan(call, tenant, template, wanted)
        return
    with call.client() as client:
        accepted = client.trigger(tenant, check_ref(template), wanted)
        run_id = accepted["pipeline_logging_id"]
        if no_wait:
            show_record(accepted, call.format)
            return
        say(f"run {run_id} of {accepted['pipeline_id']} is {accepted['status']}")
        try:
            ended = client.follow(run_id, Progress())
        except KeyboardInterrupt:
            say(f"interrupted; what became of it: cdp runs show {run_id}")
            raise
    show_run(ended, call.format)
    check_completed(ended)


class Progress:
    """Tells on stderr what happens: that a step has begun or ended, and what it says."""

    def __call__(self, event: dict[str, Any]) -> None:
        if event["kind"] == "log":
            say(f"  {event['step_id'] or 'run'}: {event['message']}")
        elif event["step_id"]:
            say(f"step {event['step_id']} is {event['status']}")


def wanted_run(date: str | None, var: Sequence[str]) -> dict[str, Any]:
    """The body of a request for a run."""
    from convergence.cli.days import day

    wanted: dict[str, Any] = {"variables": read_variables(var)}
    return wanted if date is None else {**wanted, "date": day(date)}


def read_variables(given: Sequence[str]) -> dict[str, str]:
    variables = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise Invalid(
                f"--var {item[:80]!r} is not NAME=VALUE",
                code="invalid_variable",
                hint="for example --var source_billing_table=local.billing.export",
            )
        variables[name] = value
    return variables


def check_completed(run: dict[str, Any]) -> None:
    """Raise StepFailed with the run's reason when it did not end well."""
    from convergence.model.run import Status

    if run["status"] == Status.COMPLETED:
        return
    reason = f": {run['error']}" if run["error"] else ""
    raise StepFailed(
        f"run {run['pipeline_logging_id']} is {run['status']}{reason}",
        code=run["error_code"] or "run_failed",
        hint=f"cdp runs show {run['pipeline_logging_id']}",
    )
