"""`cdp sources`: which billing exports there are, and who may read how much of them."""

from collections.abc import Sequence
from enum import StrEnum
from glob import iglob
from pathlib import Path
from typing import Annotated, Any

import typer

from convergence.cli.command import Call, command, group
from convergence.cli.output import say, show_record, show_rows

COLUMNS = ("table", "files", "kind", "tenants")

CHECK_COLUMNS = (
    *("tenant", "kind", "currency", "rows", "billing_accounts", "first_day", "last_day"),
    *("days_without_rows", "oldest_export_time", "newest_export_time", "code"),
)

app = group("Sources: the billing exports that tenants may read.")


class SourceKind(StrEnum):
    AUTO = "auto"
    GCP_STANDARD = "gcp_standard"
    GCP_DETAILED = "gcp_detailed"
    FOCUS = "focus"


Table = Annotated[
    str, typer.Argument(help="Its name in SQL; may end in _*", metavar="PROJECT.DATASET.TABLE")
]


@command(
    app,
    "add",
    examples=(
        "cdp sources add local.billing.export --files '/data/export/*.parquet' --tenant acme",
        "cdp sources add local.billing.shared --files '/data/*.csv' --tenant acme --project p-1",
    ),
)
def add(
    call: Call,
    *,
    table: Table,
    files: Annotated[
        str | None, typer.Option(help="Glob of its files, quoted; they may come later.")
    ] = None,
    kind: Annotated[SourceKind, typer.Option(help="What the export is.")] = SourceKind.AUTO,
    tenant: Annotated[
        list[str] | None, typer.Option("--tenant", "-t", help="Who may read it; repeatable.")
    ] = None,
    account: Annotated[
        list[str] | None,
        typer.Option(help="Narrow them to this billing account, or none; repeatable."),
    ] = None,
    project: Annotated[
        list[str] | None, typer.Option(help="Narrow them to this project; repeatable.")
    ] = None,
) -> None:
    """Add a source, or replace the one of that name with all its grants."""
    source = {
        "table": table,
        "files": _absolute(files) if files else None,
        "kind": kind.value,
        "tenants": [_grant(each, account or (), project or ()) for each in tenant or ()],
    }
    with call.client() as client:
        added = client.add_source(source)
    show_record(added, call.format)
    if files and next(iglob(added["files"], recursive=True), None) is None:  # noqa: PTH207 - absolute
        say(f"no file matches {added['files']} yet; runs find them once they are there")


def _absolute(files: str) -> str:
    """An address stays what it is, to be told of."""
    return files if "://" in files else str(Path(files).expanduser().absolute())


@command(app, "ls", examples=("cdp sources ls", "cdp sources ls -o json"))
def ls(call: Call) -> None:
    """List the sources with the tenants that may read them."""
    with call.client() as client:
        show_rows(client.sources(), COLUMNS, call.format)


@command(
    app,
    "check",
    examples=(
        "cdp sources check local.billing.export",
        "cdp sources check my-project.billing.gcp_billing_export_v1_0A1B2C -o json",
    ),
)
def check(call: Call, *, table: Table) -> None:
    """Read a source as each of its tenants sees it: kind, currencies, how far it reaches.

    Exit 1 when one cannot load it. Where reading is billed, it reads some columns of all rows.
    """
    with call.client() as client:
        found = client.check_source(table)
    rows = [{**each, **reach} for each in found for reach in each["reaches"] or [{}]]
    show_rows(rows, CHECK_COLUMNS, call.format)
    failed = [each for each in found if each["code"]]
    for each in failed:
        say(f"{each['tenant']}: {each['detail']} (try: {each['hint']})")
    if not found:
        say(f"no tenant may read it: cdp sources add {table} --tenant T")
    if failed:
        raise typer.Exit(1)


@command(
    app,
    "rm",
    examples=("cdp sources rm local.billing.export", "cdp sources rm local.billing.export --json"),
)
def remove(call: Call, *, table: Table) -> None:
    """Forget a source. What was loaded from it stays."""
    with call.client() as client:
        client.remove_source(table)
    show_record({"table": table, "removed": True}, call.format)


def _grant(tenant: str, accounts: Sequence[str], projects: Sequence[str]) -> str | dict[str, Any]:
    if not accounts and not projects:
        return tenant
    return {
        "tenant": tenant,
        "billing_account_ids": list(accounts),
        "project_ids": list(projects),
    }
