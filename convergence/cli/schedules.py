"""`cdp schedules`: templates that run by themselves, and when."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from convergence.cli.command import Call, Tenant, command, group
from convergence.cli.output import say, show_record, show_rows
from convergence.cli.run import read_variables

if TYPE_CHECKING:
    from convergence.client import Client

COLUMNS = (
    *("config_id", "template", "schedule_cron", "timezone", "is_active", "next_run_time"),
    *("last_run_status", "problem_code"),
)
ADD = "add one: cdp schedules add gcp/cost/cost_billing --tenant TENANT --cron '0 3 * * *'"
NEXT_COLUMNS = ("due", "template", "config_id")

app = group("Schedules: templates that run by themselves, and when.")

ConfigId = Annotated[str, typer.Argument(metavar="ID", help="As cdp schedules ls shows it.")]
Json = dict[str, Any]


@command(app, "ls", examples=("cdp schedules ls -t acme", "cdp schedules ls -t acme -o json"))
def ls(call: Call, *, tenant: Tenant) -> None:
    """List a tenant's schedules, with what kept the last from its time."""
    with call.client() as client:
        found = _listed(client, tenant)
    show_rows(found, COLUMNS, call.format)
    if not found:
        say(f"{tenant} has no schedules; {ADD}")


@command(
    app,
    "add",
    examples=(
        "cdp schedules add gcp/cost/cost_billing -t acme --cron '0 3 * * *'",
        "cdp schedules add gcp/cost/cost_sync -t acme --cron '0 */6 * * *' --date-offset 0",
    ),
)
def add(
    call: Call,
    *,
    template: Annotated[str, typer.Argument(metavar="PROVIDER/DOMAIN/TEMPLATE")],
    tenant: Tenant,
    cron: Annotated[str, typer.Option(help="Five fields, quoted: minute hour day month weekday.")],
    timezone: Annotated[str, typer.Option(help="An IANA time zone.")] = "UTC",
    var: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A variable of the template; repeatable."),
    ] = None,
    priority: Annotated[int, typer.Option(min=1, max=10, help="1 is the highest.")] = 5,
    catch_up: Annotated[
        int, typer.Option(min=0, max=100, help="Of missed moments, so many still run.")
    ] = 1,
    date_offset: Annotated[
        int, typer.Option(min=-366, max=0, help="Days from the due day (UTC) to the run's date.")
    ] = -1,
    paused: Annotated[bool, typer.Option("--paused", help="Do not run yet.")] = False,
) -> None:
    """Let a template run by itself."""
    from convergence.model.template import check_ref

    provider, domain, name = check_ref(template).split("/")
    wanted = {
        "provider": provider,
        "domain": domain,
        "pipeline_template": name,
        "schedule_cron": cron,
        "timezone": timezone,
        "parameters": read_variables(var or ()),
        "priority": priority,
        "catch_up": catch_up,
        "date_offset": date_offset,
        "is_active": not paused,
    }
    with call.client() as client:
        show_record(client.add_schedule(tenant, wanted), call.format)


@command(
    app,
    "show",
    examples=("cdp schedules show ID -t acme", "cdp schedules show ID -t acme -o json"),
)
def show(call: Call, *, config_id: ConfigId, tenant: Tenant) -> None:
    """Show a schedule: its next due times, its last run, and what was missed."""
    with call.client() as client:
        show_record(client.schedule(tenant, config_id), call.format)


@command(
    app,
    "pause",
    examples=("cdp schedules pause ID -t acme", "cdp schedules pause ID -t acme --json"),
)
def pause(call: Call, *, config_id: ConfigId, tenant: Tenant) -> None:
    """Start nothing until it is resumed."""
    with call.client() as client:
        changed = client.change_schedule(tenant, config_id, {"is_active": False})
    show_record(changed, call.format)


@command(
    app,
    "resume",
    examples=("cdp schedules resume ID -t acme", "cdp schedules resume ID -t acme --json"),
)
def resume(call: Call, *, config_id: ConfigId, tenant: Tenant) -> None:
    """Go on from now; what passed meanwhile is not caught up."""
    with call.client() as client:
        changed = client.change_schedule(tenant, config_id, {"is_active": True})
    show_record(changed, call.format)


@command(app, "rm", examples=("cdp schedules rm ID -t acme", "cdp schedules rm ID -t acme --json"))
def remove(call: Call, *, config_id: ConfigId, tenant: Tenant) -> None:
    """Forget a schedule. Runs that it started go on."""
    with call.client() as client:
        client.remove_schedule(tenant, config_id)
    show_record({"config_id": config_id, "removed": True}, call.format)


@command(app, "next", examples=("cdp schedules next -t acme", "cdp schedules next -t acme -o json"))
def next_due(call: Call, *, tenant: Tenant) -> None:
    """List what comes next: the next three due times of each schedule, in order."""
    with call.client() as client:
        found = _listed(client, tenant)
    due = [
        {"due": moment, "template": each["template"], "config_id": each["config_id"]}
        for each in found
        for moment in each["next_run_times"]
    ]
    show_rows(sorted(due, key=lambda row: str(row["due"])), NEXT_COLUMNS, call.format)
    if not found:
        say(f"{tenant} has no schedules; {ADD}")
    elif not due:
        say("no schedule is due: cdp schedules resume ID lets a paused one go on")


def _listed(client: "Client", tenant: str) -> list[Json]:
    """The schedules, each with its template's name in one word."""
    named = ("provider", "domain", "pipeline_template")
    return [
        {**each, "template": "/".join(each[name] for name in named)}
        for each in client.schedules(tenant)
    ]
