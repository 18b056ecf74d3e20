"""`cdp quota`: what a tenant used today and this month, and what it may use."""

from typing import Annotated, Any

import typer

from convergence.cli.command import Call, command, group
from convergence.cli.output import Format, say, show_record, show_rows

COLUMNS = ("quota", "used", "limit", "remaining")

app = group("Quotas: what a tenant used, and may use.")

TenantId = Annotated[
    str, typer.Argument(help="The tenant's id.", metavar="TENANT", envvar="CDP_TENANT")
]


@command(app, "show", examples=("cdp quota show acme", "cdp quota show acme -o json"))
def show(call: Call, *, tenant: TenantId) -> None:
    """Show the use of this UTC day and month beside the limits."""
    with call.client() as client:
        usage = client.usage(tenant)
    if call.format is Format.TABLE:
        show_rows(_lines(usage), COLUMNS, call.format)
    else:
        show_record(usage, call.format)


@command(
    app,
    "set",
    examples=(
        "cdp quota set acme --daily 25",
        "cdp quota set acme --monthly 3000 --concurrent 10 --bytes 107374182400",
    ),
)
def change(
    call: Call,
    *,
    tenant: TenantId,
    daily: Annotated[int | None, typer.Option(min=0, help="Runs a UTC day.")] = None,
    monthly: Annotated[int | None, typer.Option(min=0, help="Runs a UTC month.")] = None,
    concurrent: Annotated[int | None, typer.Option(min=0, help="Runs at one moment.")] = None,
    team_members: Annotated[int | None, typer.Option(min=0, help="People.")] = None,
    providers: Annotated[int | None, typer.Option(min=0, help="Cloud providers.")] = None,
    bytes_: Annotated[
        str | None,
        typer.Option(
            "--bytes",
            metavar="N|none",
            help="Bytes that one statement in BigQuery may be billed for.",
        ),
    ] = None,
) -> None:
    """Change some of a tenant's limits; the others stay."""
    from convergence.errors import Invalid

    given = {
        "daily_limit": daily,
        "monthly_limit": monthly,
        "concurrent_limit": concurrent,
        "max_team_members": team_members,
        "max_providers": providers,
    }
    changes: dict[str, int | None] = {
        name: value for name, value in given.items() if value is not None
    }
    if bytes_ is not None:
        changes["maximum_bytes_billed"] = _bytes(bytes_)
    if not changes:
        raise Invalid("no limit is given", hint="cdp quota set --help names them")
    with call.client() as client:
        changed = client.set_limits(tenant, changes)
    if call.format is Format.TABLE:
        limits = [{"limit": name, "value": value} for name, value in changed["limits"].items()]
        show_rows(limits, ("limit", "value"), call.format)
    else:
        show_record(changed, call.format)
    if changed["notice"]:
        say(f"notice: {changed['notice']}")


def _bytes(text: str) -> int | None:
    if text == "none":
        return None
    if not text.isdecimal():
        raise typer.BadParameter("a number of bytes, or none", param_hint="--bytes")
    return int(text)


def _lines(usage: dict[str, Any]) -> list[dict[str, Any]]:
    used = {
        "daily": usage["pipelines_run_today"],
        "monthly": usage["pipelines_run_month"],
        "concurrent": usage["concurrent_pipelines_running"],
    }
    return [
        {
            "quota": name,
            "used": count,
            "limit": usage["limits"][f"{name}_limit"],
            "remaining": usage["quota_remaining"][name],
        }
        for name, count in used.items()
    ]
