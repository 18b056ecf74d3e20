"""`cdp runs`: which runs there were, and one of them with its steps and its proof."""

import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convergence.cli.command import AnyTenant, Call, command, group
from convergence.cli.output import Format, plain, say, show_record, show_rows, write, write_table

if TYPE_CHECKING:
    from convergence.client import Client

COLUMNS = (
    "pipeline_logging_id",
    "tenant_id",
    "pipeline_id",
    "run_date",
    "status",
    "trigger_type",
    "trigger_by",
    "created_at",
    "duration_ms",
)
STEP_COLUMNS = ("step_id", "ps_type", "status", "row_count", "duration_ms", "error")
TOTAL_COLUMNS = (
    "step_id",
    "invoice_month",
    "cost_type",
    "currency",
    "rows",
    "cost",
    "credits",
    "source_rows",
    "source_cost",
    "source_credits",
)
CANCEL_COLUMNS = ("pipeline_logging_id", "status", "cancel_requested", "error")
MOMENT = "1d|12h|30m|YYYY-MM-DD"
CANCEL_SECONDS = 10
POLL_SECONDS = 0.2
MONEY = ("cost", "credits", "source_cost", "source_credits")

app = group("Runs: the executions of pipelines.")

RunId = Annotated[str, typer.Argument(help="The run's id.", metavar="RUN_ID")]


class RunStatus(StrEnum):
    pending = "pending"
    running = "running"
    completed = "completed"
    failed = "failed"
    cancelled = "cancelled"


@command(
    app,
    "ls",
    examples=("cdp runs ls --tenant acme", "cdp runs ls --status failed --limit 10 -o json"),
)
def ls(
    call: Call,
    *,
    tenant: AnyTenant = None,
    status: Annotated[
        list[RunStatus] | None, typer.Option(case_sensitive=False, help="Only these; repeatable.")
    ] = None,
    pipeline: Annotated[str | None, typer.Option(help="Only this pipeline_id.")] = None,
    date_from: Annotated[
        str | None, typer.Option("--from", metavar="YYYY-MM-DD", help="First run date.")
    ] = None,
    date_to: Annotated[
        str | None, typer.Option("--to", metavar="YYYY-MM-DD", help="Last run date.")
    ] = None,
    since: Annotated[str | None, typer.Option(metavar=MOMENT, help="Accepted since then.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
) -> None:
    """List runs, newest first; without a tenant those of all."""
    from convergence.cli.days import day, moment

    given = {
        "status": [each.value.upper() for each in status or ()],
        "pipeline_id": pipeline,
        "date_from": day(date_from),
        "date_to": day(date_to),
        "since": moment(since),
    }
    chosen = {name: value for name, value in given.items() if value}
    with call.client() as client:
        show_rows(client.runs(tenant, chosen, limit=limit), COLUMNS, call.format)


@command(app, "show", examples=("cdp runs show RUN_ID", "cdp runs show RUN_ID -o json"))
def show(call: Call, *, run_id: RunId) -> None:
    """Show a run, its steps, and the totals it loaded beside its source's."""
    with call.client() as client:
        show_run(client.run(run_id), call.format)


@command(
    app,
    "cancel",
    examples=("cdp runs cancel RUN_ID", "cdp runs cancel RUN_ID RUN_ID --no-wait -o json"),
)
def cancel(
    call: Call,
    *,
    run_ids: Annotated[list[str], typer.Argument(help="The runs' ids.", metavar="RUN_ID...")],
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Do not wait until they have ended.")
    ] = False,
) -> None:
    """End runs that wait or are under way; what they loaded stays, nothing is left half-written."""
    from convergence.cli.several import each

    with call.client() as client:

        def end(run_id: str) -> dict[str, Any]:
            asked = client.cancel(run_id)
            return asked if no_wait else _ended(client, asked)

        each(run_ids, end, CANCEL_COLUMNS, call.format)


def _ended(client: "Client", asked: dict[str, Any]) -> dict[str, Any]:
    """The run when it is over; as it is, when that takes longer than it should."""
    run = asked
    for _ in range(round(CANCEL_SECONDS / POLL_SECONDS)):
        if run["end_time"] is not None:
            return run
        time.sleep(POLL_SECONDS)
        run = client.run(run["pipeline_logging_id"])
    say(f"run {run['pipeline_logging_id']} has not ended yet; it does so when a worker has it")
    return run


def show_run(run: dict[str, Any], form: Format) -> None:
    """A run for a person, or whole for a program."""
    if form is not Format.TABLE:
        show_record(run, form)
        return
    steps = run["steps"]
    show_record({name: value for name, value in run.items() if name != "steps"}, form)
    if steps:
        write("")
        write_table(steps, STEP_COLUMNS)
        for step in steps:
            for address, reason in (step["report"] or {}).get("left_out", {}).items():
                write(plain(f"{step['step_id']}: {address} left out: {reason}"))
    if totals := [line for step in steps for line in _totals(step)]:
        write("")
        write_table(totals, TOTAL_COLUMNS)


def _totals(step: dict[str, Any]) -> list[dict[str, Any]]:
    """What a step loaded and what the source holds, by invoice month, cost type and currency.
    Nothing of a table that is no bill.
    """
    report = step.get("report") or {}
    axes = ("invoice_month", "cost_type", "currency")
    source = {tuple(row[axis] for axis in axes): row for row in report.get("source_totals", ())}
    lines = []
    bill = (row for row in report.get("totals", ()) if any(row[axis] for axis in axes))
    for row in bill:
        theirs = source.get(tuple(row[axis] for axis in axes), {})
        proof = {f"source_{name}": theirs.get(name) for name in ("rows", "cost", "credits")}
        line = {"step_id": step["step_id"], **row, **proof}
        lines.append(line | {name: _nine_places(line[name]) for name in MONEY})
    return lines


def _nine_places(amount: str | None) -> str | None:
    """So that what is to be compared looks alike; NUMERIC has no more places."""
    if amount is None:
        return None
    whole, _, places = amount.partition(".")
    return f"{whole}.{places.ljust(9, '0')}"
