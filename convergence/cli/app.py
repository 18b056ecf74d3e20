"""The `cdp` command: a file per noun. What a command works with is imported when it runs."""

import os
import platform
import sys
from collections.abc import Sequence

import typer

from convergence import __version__
from convergence.cli import (
    backfill,
    completion,
    config,
    costs,
    db,
    demo,
    doctor,
    export,
    failures,
    init,
    lineage,
    logs,
    plan,
    quality,
    quota,
    retry,
    run,
    runs,
    sample,
    schedules,
    serve,
    sources,
    sql,
    templates,
    tenants,
    trend,
    watch,
    worker,
)
from convergence.cli.command import Call, command, group
from convergence.cli.output import show_record

COMMON = ("--server", "--home")
OWN_FILES = 0o077
"""What is made in a home is for this user alone: bills, and the hashes of keys."""

UNQUOTED = "quote the glob, or the shell fills it in: --files '/data/export/*.parquet'"

app = group("Every tenant's cloud bill in its own tables: once, on time and right to the cent.")
for single in (demo, init, serve, worker, doctor, logs, plan, run, backfill, sql, completion):
    single.add_to(app)
app.add_typer(tenants.app, name="tenants")
app.add_typer(sources.app, name="sources")
app.add_typer(templates.app, name="templates")
retry.add_to(runs.app)
watch.add_to(runs.app)
app.add_typer(runs.app, name="runs")
app.add_typer(schedules.app, name="schedules")
trend.add_to(costs.app)
export.add_to(costs.app)
app.add_typer(costs.app, name="costs")
lineage.add_to(costs.app)
app.add_typer(quality.app, name="quality")
app.add_typer(quota.app, name="quota")
app.add_typer(sample.app, name="sample")
app.add_typer(db.app, name="db")
app.add_typer(config.app, name="config")


@command(app, "version", examples=("cdp version", "cdp version -o json"))
def version(call: Call) -> None:
    """Say which version this is, and on which Python it runs."""
    facts = {"version": __version__, "python": platform.python_version()}
    show_record(facts, call.format)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. `cdp --help` names the commands."""
    os.umask(OWN_FILES)
    arguments = _command_first(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(args=arguments, prog_name="cdp", standalone_mode=False)
    except typer.TyperException as error:
        return _misused(error)
    except typer.Abort:
        return failures.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last wall: a person never sees a traceback
        return failures.broke(error, debug="--debug" in arguments)
    return code if isinstance(code, int) else 0


def _command_first(arguments: Sequence[str]) -> list[str]:
    """`cdp --server URL runs ls` is `cdp runs ls --server URL`: each command has these options."""
    rest, moved = list(arguments), list[str]()
    while rest and rest[0].partition("=")[0] in COMMON:
        count = 1 if "=" in rest[0] else 2
        moved += rest[:count]
        del rest[:count]
    return rest + moved


def _misused(error: typer.TyperException) -> int:
    """A command line that cannot be understood; or a noun alone, whose help was printed."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "cdp"
    message = error.format_message()
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(message, err=True)
    else:
        is_unquoted = path == "cdp sources add" and "unexpected extra argument" in message
        failures.complain(message, UNQUOTED if is_unquoted else f"{path} --help")
    return error.exit_code
