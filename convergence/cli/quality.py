"""`cdp quality`: what quality checks found, and checks of rows that are there."""

from typing import Annotated, Any

import typer

from convergence.cli.command import Call, Tenant, command, group
from convergence.cli.output import Format, say, show_record, show_rows

COLUMNS = (
    "dq_result_id",
    "table",
    "date",
    "overall_status",
    "expectations_passed",
    "expectations_failed",
    "failed",
    "executed_at",
)
CHECKS = ("name", "severity", "passed", "rows_failed", "rows_checked", "threshold", "actual")
TEMPLATE = "gcp/cost/cost_quality"

app = group("Quality: what the checks of loaded rows found.")


@command(
    app,
    "ls",
    examples=("cdp quality ls --tenant acme", "cdp quality ls -t acme --status FAIL --limit 5"),
)
def ls(
    call: Call,
    *,
    tenant: Tenant,
    status: Annotated[
        list[str] | None, typer.Option(help="PASS, WARNING or FAIL; repeatable.")
    ] = None,
    table: Annotated[str | None, typer.Option(help="Of this table alone.")] = None,
    run_id: Annotated[str | None, typer.Option("--run", help="Of this run alone.")] = None,
    date_from: Annotated[
        str | None, typer.Option("--from", metavar="YYYY-MM-DD", help="First day.")
    ] = None,
    date_to: Annotated[
        str | None, typer.Option("--to", metavar="YYYY-MM-DD", help="Last day.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
) -> None:
    """List what was found, the newest first."""
    from convergence.cli.days import day

    asked = {
        "status": status,
        "table": table,
        "run_id": run_id,
        "from": day(date_from),
        "to": day(date_to),
    }
    with call.client() as client:
        wanted = {name: value for name, value in asked.items() if value}
        items = client.quality(tenant, wanted, limit=limit)
    shown = [{**item, "failed": ", ".join(item["failed"])} for item in items]
    show_rows(shown if call.format is Format.TABLE else items, COLUMNS, call.format)


@command(
    app,
    "show",
    examples=(
        "cdp quality show 4f6c1e9a-… --tenant acme",
        "cdp quality show 4f6c1e9a-… -t acme -o json",
    ),
)
def show(
    call: Call,
    *,
    dq_result_id: Annotated[str, typer.Argument(metavar="ID", help="The result's id.")],
    tenant: Tenant,
) -> None:
    """Show each check of a result, those that failed first, and rows that fail."""
    with call.client() as client:
        result = client.quality_result(tenant, dq_result_id)
    if call.format is not Format.TABLE:
        show_record(result, call.format)
        return
    show_rows(result["checks"], CHECKS, call.format)
    for check in result["checks"]:
        for sample in check["samples"]:
            say(f"{check['name']}: {_line(sample)}")


@command(
    app,
    "run",
    examples=(
        "cdp quality run --tenant acme --date 2024-11-01",
        "cdp quality run -t acme --date 2024-11-01 -o json",
    ),
)
def run(
    call: Call,
    *,
    tenant: Tenant,
    date: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help="The day; else yesterday (UTC).")
    ] = None,
) -> None:
    """Check a day of the bill as it is now, with gcp/cost/cost_quality; exit 1 when it fails."""
    from convergence.cli.run import Progress, check_completed, wanted_run

    with call.client() as client:
        wanted = {**wanted_run(date, ()), "trigger_by": "cdp quality run"}
        accepted = client.trigger(tenant, TEMPLATE, wanted)
        ended = client.follow(accepted["pipeline_logging_id"], Progress())
        found = client.quality(tenant, {"run_id": ended["pipeline_logging_id"]}, limit=100)
    shown = [{**item, "failed": ", ".join(item["failed"])} for item in found]
    show_rows(shown if call.format is Format.TABLE else found, COLUMNS, call.format)
    check_completed(ended)


def _line(sample: dict[str, Any]) -> str:
    return ", ".join(f"{name} {'NULL' if text is None else text}" for name, text in sample.items())
