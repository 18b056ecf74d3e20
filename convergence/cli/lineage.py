"""`cdp costs lineage`: where a cost comes from."""

from typing import Annotated

import typer

from convergence.cli.command import Call, Tenant, command
from convergence.cli.costs import Filters, First, Last
from convergence.cli.output import Format, show_rows

COLUMNS = (
    "date",
    "source",
    "rows",
    "net",
    "is_equal",
    "quality",
    "source_export_time",
    "files",
    "pipeline_logging_id",
    "load_id",
    "template_hash",
)


def add_to(app: typer.Typer) -> None:
    """As a verb of `cdp costs`."""
    examples = (
        "cdp costs lineage --tenant acme --from 2024-11-01 --to 2024-11-01",
        "cdp costs lineage -t acme --filter service=6F81-5844-456A -o json",
    )
    command(app, "lineage", examples=examples)(lineage)


def lineage(
    call: Call,
    *,
    tenant: Tenant,
    date_from: First = None,
    date_to: Last = None,
    only: Filters = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many days and sources.")] = 20,
) -> None:
    """Trace a cost to its loads: runs, source files, proof; with -o json queries and all else."""
    from convergence.cli.days import day

    asked = {"from": day(date_from), "to": day(date_to), "filter": only}
    with call.client() as client:
        wanted = {name: value for name, value in asked.items() if value}
        items = client.lineage(tenant, wanted, limit=limit)
    if call.format not in {Format.TABLE, Format.CSV}:
        show_rows(items, COLUMNS, call.format)
        return
    lines = [
        {
            **item,
            "rows": sum(shown["rows"] for shown in item["shown"]),
            "net": ", ".join(f"{shown['net']} {shown['currency']}" for shown in item["shown"]),
            "quality": item["quality"]["overall_status"] if item["quality"] else "",
            "files": len(item["files"]),
        }
        for item in items
    ]
    show_rows(lines, COLUMNS, call.format)
