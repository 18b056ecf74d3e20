"""`cdp costs`: a tenant's bill by day, service and so on; exact, and never across currencies."""

from collections.abc import Sequence
from decimal import Decimal
from itertools import groupby
from typing import Annotated, Any

import typer

from convergence.cli.command import Call, Tenant, command, group
from convergence.cli.output import Format, Row, say, show_rows
from convergence.model.trend import share

FIGURES = ("currency", "rows", "cost", "credits", "net")
DOLLARS = ("cost_usd", "credits_usd", "net_usd")
RATE = "currency_conversion_rate"

COMPLETE = "is_complete"
TOLD = 5
"""So many days that lack rows are told."""
CREDIT_TYPE = "credit_type"
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
    "old_run_id",
    "source",
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

First = Annotated[str | None, typer.Option("--from", metavar="YYYY-MM-DD", help="First day.")]
Last = Annotated[str | None, typer.Option("--to", metavar="YYYY-MM-DD", help="Last day.")]
By = Annotated[
    str,
    typer.Option(
        "--group-by",
        metavar="NAMES",
        help="With commas: day, week, month, service, sku, project, region, resource, cost_type, "
        "credit_type, invoice_month, label.KEY, tag.KEY.",
    ),
]
Filters = Annotated[
    list[str] | None,
    typer.Option(
        "--filter", metavar="NAME=ID", help="Only this one, such as label.env=prod; repeatable."
    ),
]
Days = Annotated[
    str,
    typer.Option(
        "--calendar",
        metavar="usage_utc|usage_pacific|invoice_month",
        help="What days and months are of: usage in UTC, in the provider's zone, or invoices.",
    ),
]


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
    calendar: Days = "",
    credit_types: Annotated[
        bool, typer.Option("--credit-types", help="A column for the credits of each type.")
    ] = False,
    convert: Annotated[
        str | None,
        typer.Option(metavar="USD", help="Amounts in dollars too, by the rates of the rows."),
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of",
            metavar="DAY|MOMENT",
            help="As it was at the end of that day; by usage days in UTC or invoice months.",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Only so many groups, and no total.")
    ] = None,
) -> None:
    """Sum cost, credits and net in groups; a table ends in a total of each currency."""
    names = [name.strip() for name in group_by.split(",") if name.strip()]
    question: dict[str, Any] = {"from": date_from, "to": date_to, "filter": only}
    question |= {
        "group_by": ",".join(names),
        "calendar": calendar,
        "convert": convert,
        "as_of": as_of,
        "limit": limit,
    }
    answer = asked(call, tenant, question | {"credit_types": credit_types})
    items: list[dict[str, Any]] = answer["items"]
    if as_of and not items:
        say(f"no costs then: rows were first loaded at {answer['first_loaded_at'] or '(never)'}")
    _tell_of_incomplete(answer["incomplete_days"], items)
    if answer["next_cursor"]:
        say(f"the first {limit} groups, more follow; all: leave --limit out, or cdp costs export")
        show_rows(items, columns_of(items, names), call.format)
        return
    if "invoice_month" in names and "day" not in names:
        items.sort(key=lambda item: item["invoice_month"] or "")
    _show(items, names, call.format)


@command(
    app,
    "top",
    examples=(
        "cdp costs top --tenant acme",
        "cdp costs top -t acme --by label.team --limit 3 --from 2024-11-01 --to 2024-11-30",
    ),
)
def top(
    call: Call,
    *,
    tenant: Tenant,
    date_from: First = None,
    date_to: Last = None,
    by: Annotated[
        str, typer.Option(metavar="NAME", help="What to rank: service, sku, label.KEY …")
    ] = "service",
    only: Filters = None,
    calendar: Days = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many of each currency.")] = 10,
) -> None:
    """Rank services, projects and so on by net cost, with their share, within each currency."""
    question = {"from": date_from, "to": date_to, "group_by": by, "filter": only}
    items = ask(call, tenant, question | {"calendar": calendar})
    ranked = sorted(items, key=lambda item: (currency_of(item), -Decimal(item["net"])))
    best = []
    for _, members in groupby(ranked, currency_of):
        of_currency = list(members)
        whole = sum((Decimal(item["net"]) for item in of_currency), Decimal(0))
        shares = (share(Decimal(item["net"]), whole) for item in of_currency)
        best += [item | {"share": next(shares)} for item in of_currency[:limit]]
    show_rows(best, [*columns_of(items, [by]), "share"], call.format)
    if len(best) < len(items):
        say(f"{len(items) - len(best)} more have less net cost: --limit")
    if not best:
        say(f"{tenant} has no costs there; see what was loaded: cdp runs ls --tenant {tenant}")


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
    """Compare the bill with its source, month by month; exit code 1 when they differ, or a day of
    theirs lacks rows that could not be loaded.
    """
    with call.client() as client:
        answer = client.reconciliation(tenant, {"invoice_month": month} if month else {})
    items, lacking = answer["items"], answer["incomplete_days"]
    is_table = call.format is Format.TABLE
    rows = [{**item, "run_ids": _few(item["run_ids"])} for item in items] if is_table else items
    show_rows(rows, RECONCILED, call.format)
    _tell_of_incomplete(lacking, [])
    for each in answer["shared_accounts"]:
        say(
            f"account {each['billing_account_id']} has rows of {' and of '.join(each['sources'])} "
            f"on {each['days']} days, {each['first']} to {each['last']}: what both tell counts "
            "twice"
        )
    if any(_is_of(each, month) for each in lacking) or not all(item["is_equal"] for item in items):
        raise typer.Exit(1)


def _is_of(incomplete_day: Row, month: str | None) -> bool:
    """Whether the day, or what is every day, lies in the month `YYYYMM`."""
    day = incomplete_day["day"]
    return month is None or day is None or day.replace("-", "").startswith(month)


def ask(call: Call, tenant: str, question: dict[str, Any]) -> list[dict[str, Any]]:
    """The answer's groups."""
    items: list[dict[str, Any]] = asked(call, tenant, question)["items"]
    return items


def asked(call: Call, tenant: str, question: dict[str, Any]) -> dict[str, Any]:
    """The answer as the interface gives it. What is empty is not asked."""
    from convergence.cli.days import day

    wanted = {"credit_types": False} | question
    wanted |= {"from": day(question["from"]), "to": day(question["to"])}
    with call.client() as client:
        return client.costs(
            tenant, {name: value for name, value in wanted.items() if value or value is False}
        )


def columns_of(items: Sequence[Row], names: Sequence[str]) -> list[str]:
    """What was asked for, then the figures; an empty answer has the names that were asked."""
    if not items:
        return [*names, *FIGURES]
    types = [name for name in items[0] if name.startswith("credits_") and name not in DOLLARS]
    order = ["currency", RATE, "rows", "cost", *types, "credits", "net", *DOLLARS]
    groups = [name for name in items[0] if name not in {*order, COMPLETE}]
    return [*groups, *(name for name in order if name in items[0])]


def currency_of(item: Row) -> str:
    return item["currency"] or ""


def _few(run_ids: Sequence[str]) -> str:
    """As a cell holds it: one id, or the first of many."""
    more = len(run_ids) - 1
    return ", ".join(run_ids[:1]) + (f" and {more} more" if more > 0 else "")


def _tell_of_incomplete(lacking: Sequence[Row], items: Sequence[Row]) -> None:
    """Of days whose rows were refused; of those that are shown, where days are."""
    shown = {item.get("day") for item in items} - {None}
    for each in [each for each in lacking if each["day"] in {None, *shown} or not shown][:TOLD]:
        say(
            f"{each['day'] or 'any day'} lacks rows of {each['source']} ({each['code']}): "
            f"cdp runs show {each['run_id']}"
        )


def _show(items: Sequence[Row], names: Sequence[str], form: Format) -> None:
    columns = columns_of(items, names)
    if form is not Format.TABLE or not names:
        show_rows(items, columns, form)
        return
    shown = [*columns, *([COMPLETE] if "day" in names else [])]
    show_rows([*sorted(items, key=currency_of), *_totals(items, columns)], shown, form)


def _totals(items: Sequence[Row], columns: Sequence[str]) -> list[Row]:
    """One row for each currency: sums never cross them. Lines of credits tell of rows whose costs
    are in a line above: those are not counted again.
    """
    money = columns[columns.index("rows") + 1 :]
    totals: list[Row] = []
    for currency, group_of in groupby(sorted(items, key=currency_of), currency_of):
        members = list(group_of)
        sums = {name: _sum([item[name] for item in members]) for name in money}
        whole = [item["rows"] for item in members if not item.get(CREDIT_TYPE)]
        count = sum(whole) if whole else None
        totals.append({columns[0]: "total", "currency": currency, "rows": count, **sums})
    return totals


def _sum(amounts: Sequence[str | None]) -> str | None:
    """None where one of them is not known."""
    known = [Decimal(amount) for amount in amounts if amount is not None]
    return format(sum(known, Decimal(0)), "f") if len(known) == len(amounts) else None
