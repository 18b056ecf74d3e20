"""`cdp backfill`: run a template for each day of a span."""

import shlex
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convergence.cli.command import Call, Tenant, command
from convergence.cli.output import Format, say, show_record, show_rows
from convergence.errors import CdpError, Invalid, StepFailed
from convergence.model.run import Status

if TYPE_CHECKING:
    from convergence.cli.batch import Batch, Job
    from convergence.client import Client

COLUMNS = ("run_date", "status", "pipeline_logging_id", "duration_ms", "error")
MOST_PARALLEL = 32
Json = dict[str, Any]


def add_to(app: typer.Typer) -> None:
    command(
        app,
        "backfill",
        examples=(
            "cdp backfill gcp/cost/cost_billing -t acme --from 2024-11-01 --to 2024-11-30",
            "cdp backfill aws/cost/focus -t acme --from 2024-11-01 --to 2024-11-30 --parallel 4",
        ),
    )(backfill)


def backfill(
    call: Call,
    *,
    template: Annotated[str, typer.Argument(metavar="PROVIDER/DOMAIN/TEMPLATE")],
    tenant: Tenant,
    date_from: Annotated[
        str, typer.Option("--from", metavar="YYYY-MM-DD", help="The first usage day.")
    ],
    date_to: Annotated[
        str, typer.Option("--to", metavar="YYYY-MM-DD", help="The last usage day, included.")
    ],
    parallel: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_PARALLEL, help="Runs at a time; else as many as are granted."),
    ] = None,
    var: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A variable of the template; repeatable."),
    ] = None,
    allow_shrink: Annotated[
        bool, typer.Option("--allow-shrink", help="Accept a source that lost rows.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan alone.")] = False,
) -> None:
    """Run a template for each day from --from to --to, and wait; exit 1 when a day failed."""
    from convergence.cli.batch import Batch
    from convergence.cli.run import read_variables
    from convergence.model.template import check_ref

    days = _days(date_from, date_to)
    words = ["cdp", "backfill", template, "--tenant", tenant, *call.place]
    words += [f"--parallel={parallel}"] if parallel else []
    words += [word for each in var or () for word in ("--var", each)]
    words += ["--allow-shrink"] if allow_shrink else []
    words += ["--yes"] if yes else []
    wanted: Json = {"trigger_by": "cli", "variables": read_variables(var or ())}
    wanted |= {"trigger_type": "backfill"} | ({"allow_shrink": True} if allow_shrink else {})
    with call.client() as client:
        ref = check_ref(template)
        client.template(ref)
        usage = client.usage(tenant)
        plan = _plan(ref, tenant, days, usage, parallel or MOST_PARALLEL)
        if dry_run:
            show_record(plan, call.format)
            return
        _tell(plan, asked=parallel)
        if not yes and sys.stdin.isatty() and call.format is Format.TABLE:
            typer.confirm("Go on?", default=True, abort=True, err=True)
        batch = Batch(client=client, parallel=plan["parallel"])
        batch.run(_job(client, tenant, ref, wanted, day) for day in days)
    show_rows(sorted(batch.rows, key=lambda row: row["run_date"]), COLUMNS, call.format)
    _conclude(batch, len(days), f"{shlex.join(words)} --to {days[-1]} --from")


def _days(first: str, last: str) -> list[date]:
    from convergence.cli.days import day

    start, end = (date.fromisoformat(day(text) or "") for text in (first, last))
    if end < start:
        raise Invalid(
            f"--from {start} is after --to {end}", code="invalid_date", hint="exchange them"
        )
    return [start + timedelta(days=n) for n in range((end - start).days + 1)]


def _job(client: "Client", tenant: str, ref: str, wanted: Json, day: date) -> "Job":
    from convergence.cli.batch import Job

    asked = wanted | {"date": day.isoformat()}
    return Job(
        name=str(day),
        facts={"run_date": day.isoformat()},
        start=lambda: client.trigger(tenant, ref, asked),
    )


def _plan(ref: str, tenant: str, days: Sequence[date], usage: Json, wanted: int) -> Json:
    """More at a time than the tenant is granted would be refused."""
    left, granted = usage["quota_remaining"], usage["limits"]["concurrent_limit"]
    return {
        "template": ref,
        "tenant_id": tenant,
        "from": days[0].isoformat(),
        "to": days[-1].isoformat(),
        "runs": len(days),
        "parallel": min(wanted, max(granted, 1), len(days), MOST_PARALLEL),
        "concurrent_limit": granted,
        "left_today": left["daily"],
        "left_this_month": left["monthly"],
        "runs_now": min(len(days), left["daily"], left["monthly"]),
    }


def _tell(plan: Json, *, asked: int | None) -> None:
    granted = plan["concurrent_limit"]
    is_cut = asked is not None and asked > granted and plan["runs"] > granted
    say(
        f"{plan['runs']} runs of {plan['template']} for {plan['tenant_id']}, {plan['from']} to "
        f"{plan['to']}, {plan['parallel']} at a time"
        + (f": its limit of concurrent runs is {granted}" if is_cut else "")
    )
    say(f"quota: {plan['left_today']} left today, {plan['left_this_month']} left this month")
    if plan["runs_now"] < plan["runs"]:
        say(f"the quota lets {plan['runs_now']} of {plan['runs']} run now; the rest is for later")


def _conclude(batch: "Batch", count: int, go_on: str) -> None:
    """Say how to go on, and raise what the exit code tells. `go_on` lacks the first day alone."""
    cut_off = [row["run_date"] for row in batch.rows if row["status"] == Status.CANCELLED]
    left = sorted([job.name for job in batch.left] + (cut_off if batch.stop else []))
    if batch.stop is not None and left:
        say(f"{len(left)} of {count} days are left; to go on: {go_on} {left[0]}")
        if isinstance(batch.stop, CdpError):
            batch.stop.hint = f"{go_on} {left[0]}"
    failed = sorted({row["run_date"] for row in batch.bad if row["status"] == Status.FAILED})
    if failed:
        say(f"failed: {', '.join(failed)}")
    if batch.stop is not None:
        raise batch.stop
    if batch.bad:
        raise StepFailed(
            f"{len(batch.bad)} of {count} days did not complete",
            code="run_failed",
            hint="cdp runs retry --status FAILED --since 1d does what failed again",
        )
