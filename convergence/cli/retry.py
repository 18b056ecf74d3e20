"""`cdp runs retry`: do again what runs did not finish, one or many."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convergence.cli import runs
from convergence.cli.command import AnyTenant, Call, command
from convergence.cli.output import say, show_rows
from convergence.errors import Forbidden, Invalid, StepFailed, Unauthenticated
from convergence.model.run import LIVE, Status

if TYPE_CHECKING:
    from convergence.cli.batch import Job
    from convergence.client import Client

COLUMNS = ("retry_of", "pipeline_id", "run_date", "status", "pipeline_logging_id", "error")
MOST_RUNS = 10_000
MOST_PARALLEL = 32
Json = dict[str, Any]


def add_to(app: typer.Typer) -> None:
    command(
        app,
        "retry",
        examples=(
            "cdp runs retry RUN_ID",
            "cdp runs retry --status FAILED --since 1d --tenant acme --dry-run",
        ),
    )(retry)


def retry(
    call: Call,
    *,
    run_ids: Annotated[
        list[str] | None, typer.Argument(help="The runs' ids.", metavar="[RUN_ID]...")
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Run all steps again, the finished ones too.")
    ] = False,
    status: Annotated[
        list[runs.RunStatus] | None,
        typer.Option(case_sensitive=False, help="Those that ended so; repeatable."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar=runs.MOMENT, help="Accepted since then.")
    ] = None,
    tenant: AnyTenant = None,
    parallel: Annotated[int, typer.Option(min=1, max=MOST_PARALLEL, help="At a time.")] = 4,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show which, retry none.")] = False,
) -> None:
    """Do again what runs did not finish, and wait. By --status it is the last run of each day of
    each pipeline that counts: what has succeeded since is left alone.
    """
    from convergence.cli.batch import Batch

    with call.client() as client:
        chosen = _chosen(client, run_ids or (), status or (), since, tenant)
        if dry_run:
            columns = ("pipeline_logging_id", *runs.COLUMNS[1:5], "error")
            show_rows(chosen, columns, call.format)
            return
        batch = Batch(client=client, parallel=parallel, stops_at_quota=False)
        batch.run(_job(client, run, is_whole=whole) for run in chosen)
    show_rows(batch.rows, COLUMNS, call.format)
    if batch.left:
        say(f"{len(batch.left)} of {len(chosen)} runs were not retried; the same command goes on")
    if stop := batch.stop or batch.refusal:
        raise stop
    if batch.bad:
        raise StepFailed(
            f"{len(batch.bad)} of {len(chosen)} did not complete",
            code="run_failed",
            hint=_hint(batch.bad),
        )


def _hint(bad: Sequence[Json]) -> str:
    """What helps with one that was refused, or where to read of one that failed."""
    told = (row["hint"] for row in bad if row.get("hint"))
    begun = (f"cdp runs show {row['pipeline_logging_id']}" for row in bad if "error" not in row)
    return next(told, "") or next(begun, "")


def _chosen(
    client: "Client",
    run_ids: Sequence[str],
    statuses: Sequence[runs.RunStatus],
    since: str | None,
    tenant: str | None,
) -> list[Json]:
    from convergence.cli.days import moment

    if bool(run_ids) == bool(statuses):
        raise Invalid(
            "give the ids of runs, or choose them by --status",
            hint="cdp runs retry --status FAILED --since 1d",
        )
    if run_ids:
        return [client.run(run_id) for run_id in dict.fromkeys(run_ids)]
    wanted = {Status(status.value.upper()) for status in statuses}
    if live := wanted & (LIVE | {Status.COMPLETED}):
        raise Invalid(f"runs that are {', '.join(sorted(live))} are retried by their ids alone")
    chosen = {"since": moment(since)} if since else {}
    found = client.runs(tenant, chosen, limit=MOST_RUNS)
    last = [run for run in _last_of_each(found) if run["status"] in wanted]
    sources = _sources(client) if last else None
    if sources is None:
        return last
    return [run for run in last if not _is_repaired(run, found, sources)]


def _sources(client: "Client") -> Collection[str] | None:
    """The sources that there are; None for a tenant, who is not told of all."""
    try:
        return {source["table"] for source in client.sources()}
    except (Forbidden, Unauthenticated):
        return None


def _is_repaired(run: Json, newest_first: Sequence[Json], sources: Collection[str]) -> bool:
    """Whether a later run completed the work from another source, as the run's own is gone."""
    from convergence.model.source import TABLE

    asked = run["parameters"]
    rest = {name: it for name, it in asked.items() if it in sources or not TABLE.fullmatch(it)}
    if rest == asked:
        return False
    return any(
        later["status"] == Status.COMPLETED
        and all(later[name] == run[name] for name in ("tenant_id", "pipeline_id", "run_date"))
        and rest.items() <= later["parameters"].items()
        for later in newest_first[: newest_first.index(run)]
    )


def _last_of_each(newest_first: Sequence[Json]) -> list[Json]:
    """The last run of each pipeline, day and parameters, the oldest first."""
    last: dict[tuple[object, ...], Json] = {}
    for run in newest_first:
        work = (run["tenant_id"], run["pipeline_id"], run["run_date"], *run["parameters"].items())
        last.setdefault(work, run)
    return list(reversed(last.values()))


def _job(client: "Client", run: Json, *, is_whole: bool) -> "Job":
    from convergence.cli.batch import Job

    run_id = run["pipeline_logging_id"]
    wanted = {"from": "start"} if is_whole else {}
    return Job(
        name=f"{run['pipeline_id']} of {run['run_date']}",
        facts={
            "retry_of": run_id,
            "pipeline_id": run["pipeline_id"],
            "run_date": run["run_date"],
        },
        start=lambda: client.retry(run_id, wanted),
    )
