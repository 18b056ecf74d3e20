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
) -> None:
    """Sum cost, credits and net in groups; a table ends in a total of each currency."""
    names = [name.strip() for name in group_by.split(",") if name.strip()]
    question = {"from": date_from, "to": date_to, "group_by": ",".join(names), "filter": only}
    items = _items(call, tenant, question)
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
    show_rows([*items, *_totals(items, columns[0])], columns, form)


def _columns(items: Sequence[Row], names: Sequence[str]) -> list[str]:
    """What was asked for, then the figures; an empty answer has the names that were asked."""
    asked = [name for name in items[0] if name not in FIGURES] if items else names
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
