"""`cdp costs`: a tenant's bill by day, service and so on; exact, and never across currencies."""

from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from itertools import groupby, islice
from typing import Annotated, Any

import typer

from convergence.cli.command import Call, Tenant, command, group
from convergence.cli.output import Format, Row, show_rows

MONEY = ("cost", "credits", "net")
FIGURES = ("currency", "rows", *MONEY)

COMPLETE = "is_complete"
RESTATED = (
    "recorded_at",
    "usage_date",
    "invoice_month",
    "service_id",
    "project_id",
    "currency",
    "old_cost",
    "new_cost",
    "old_credits",
    "new_credits",
    "reason",
    "run_id",
)
RECONCILED = (
    "invoice_month",
    "state",
    "cost_type",
    "currency",
    "rows",
    "cost",
    "credits",
    "source_rows",
    "source_cost",
    "source_credits",
    "difference",
    "is_equal",
    "run_ids",
)

app = group("Costs: what was loaded, summed exactly.")

First = Annotated[str | None, typer.Option("--from", metavar="YYYY-MM-DD", help="First usage day.")]
Last = Annotated[str | None, typer.Option("--to", metavar="YYYY-MM-DD", help="Last usage day.")]
By = Annotated[
    str,
    typer.Option(
        "--group-by",
        metavar="NAMES",
        help="Of day, service, sku, project, invoice_month, cost_type, region; with commas.",
    ),
]


Filters = Annotated[
    list[str] | None,
    typer.Option("--filter", metavar="NAME=ID", help="Only this one; repeatable."),
]


class Ranked(StrEnum):
    SERVICE = "service"
    SKU = "sku"
    PROJECT = "project"


@command(
    app,
    "summary",
    examples=(
        "cdp costs summary --tenant acme",
        "cdp costs summary -t acme --from 2024-11-01 --to 2024-11-30 --group-by service,day -o csv",
    ),
)
def summary(
    call: Call,
    *,
    tenant: Tenant,
    date_from: First = None,
    date_to: Last = None,
    group_by: By = "",
    only: Filters = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of",
            metavar="DAY|MOMENT",
            help="As it was at the end of that day; by day, service, project, invoice_month.",
        ),
    ] = None,
) -> None:
    """Sum cost, credits and net in groups; a table ends in a total of each currency."""
    names = [name.strip() for name in group_by.split(",") if name.strip()]
    question = {"from": date_from, "to": date_to, "group_by": ",".join(names), "filter": only}
    items = _items(call, tenant, question | {"as_of": as_of})
    if "invoice_month" in names and "day" not in names:
        items.sort(key=lambda item: item["invoice_month"] or "")
    _show(items, names, call.format)


@command(
    app,
    "top",
    examples=(
        "cdp costs top --tenant acme",
        "cdp costs top -t acme --by project --limit 3 --from 2024-11-01 --to 2024-11-30",
    ),
)
def top(
    call: Call,
    *,
    tenant: Tenant,
    date_from: First = None,
    date_to: Last = None,
    by: Annotated[Ranked, typer.Option(help="What to rank.")] = Ranked.SERVICE,
    only: Filters = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many of each currency.")] = 10,
) -> None:
    """Rank services, SKUs or projects by net cost, within each currency."""
    question = {"from": date_from, "to": date_to, "group_by": by.value, "filter": only}
    items = _items(call, tenant, question)
    ranked = sorted(items, key=lambda item: (_currency(item), -Decimal(item["net"])))
    best = [item for _, group_of in groupby(ranked, _currency) for item in islice(group_of, limit)]
    show_rows(best, _columns(best, [by.value]), call.format)


@command(
    app,
    "diff",
    examples=(
        "cdp costs diff --tenant acme --since 2024-11-01",
        "cdp costs diff -t acme --from 2024-10-01 --to 2024-10-31 -o csv",
    ),
)
def diff(
    call: Call,
    *,
    tenant: Tenant,
    since: Annotated[
        str | None,
        typer.Option(metavar="DAY|MOMENT", help="Only what was recorded then or later."),
    ] = None,
    date_from: First = None,
    date_to: Last = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
) -> None:
    """Show what was restated: amounts that were reported and became others, the newest first."""
    from convergence.cli.days import day

    chosen = {"since": since, "from": day(date_from), "to": day(date_to)}
    with call.client() as client:
        wanted = {name: value for name, value in chosen.items() if value}
        items = client.restatements(tenant, wanted, limit=limit)
    show_rows(items, RESTATED, call.format)


@command(
    app,
    "reconcile",
    examples=(
        "cdp costs reconcile --tenant acme",
        "cdp costs reconcile -t acme --month 202411 -o json",
    ),
)
def reconcile(
    call: Call,
    *,
    tenant: Tenant,
    month: Annotated[
        str | None, typer.Option(metavar="YYYYMM", help="Of this invoice month alone.")
    ] = None,
) -> None:
    """Compare the bill with its source, month by month; exit code 1 when they differ."""
    with call.client() as client:
        items = client.reconciliation(tenant, {"invoice_month": month} if month else {})
    rows = [{**item, "runs": len(item["run_ids"])} for item in items]
    show_rows(rows, RECONCILED, call.format)
    if not all(item["is_equal"] for item in items):
        raise typer.Exit(1)


def _items(call: Call, tenant: str, question: dict[str, Any]) -> list[dict[str, Any]]:
    from convergence.cli.days import day

    asked = {**question, "from": day(question["from"]), "to": day(question["to"])}
    with call.client() as client:
        answer = client.costs(tenant, {name: value for name, value in asked.items() if value})
    items: list[dict[str, Any]] = answer["items"]
    return items


def _show(items: Sequence[Row], names: Sequence[str], form: Format) -> None:
    columns = _columns(items, names)
    if form is not Format.TABLE or not names:
        show_rows(items, columns, form)
        return
    shown = [*columns, *([COMPLETE] if "day" in names else [])]
    show_rows([*items, *_totals(items, columns[0])], shown, form)


def _columns(items: Sequence[Row], names: Sequence[str]) -> list[str]:
    """What was asked for, then the figures; an empty answer has the names that were asked."""
    asked = [n for n in items[0] if n not in {*FIGURES, COMPLETE}] if items else names
    return [*asked, *FIGURES]


def _totals(items: Sequence[Row], label: str) -> list[Row]:
    """One row for each currency: sums never cross them."""
    totals: list[Row] = []
    for currency, group_of in groupby(sorted(items, key=_currency), _currency):
        members = list(group_of)
        money = {
            name: format(sum((Decimal(item[name]) for item in members), Decimal(0)), "f")
            for name in MONEY
        }
        count = sum(item["rows"] for item in members)
        totals.append({label: "total", "currency": currency, "rows": count, **money})
    return totals


def _currency(item: Row) -> str:
    return item["currency"] or ""
