"""`cdp costs trend`: how costs move from day to day, week to week or month to month."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from enum import StrEnum
from itertools import groupby
from typing import Annotated, Any

import typer

from convergence.cli.command import Call, Tenant, command
from convergence.cli.costs import Days, Filters, First, Last, ask, columns_of, currency_of
from convergence.cli.output import show_rows
from convergence.model.trend import change, periods

NOTHING = {"rows": 0, "cost": "0", "credits": "0", "net": "0"}
CHANGES = ("change", "change_percent")


class Period(StrEnum):
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


def add_to(app: typer.Typer) -> None:
    command(
        app,
        "trend",
        examples=(
            "cdp costs trend --tenant acme --by month",
            "cdp costs trend -t acme --by week --group-by service --from 2024-10-01 -o csv",
        ),
    )(trend)


def trend(
    call: Call,
    *,
    tenant: Tenant,
    date_from: First = None,
    date_to: Last = None,
    by: Annotated[Period, typer.Option(help="How long a step is.")] = Period.DAY,
    group_by: Annotated[
        str,
        typer.Option("--group-by", metavar="NAME", help="A line for each: service, label.KEY …"),
    ] = "",
    only: Filters = None,
    calendar: Days = "",
) -> None:
    """Show net cost by period, and how it differs from the period before; none is left out."""
    names = [by.value, *([group_by] if group_by else [])]
    question = {"from": date_from, "to": date_to, "group_by": ",".join(names), "filter": only}
    items = ask(call, tenant, question | {"calendar": calendar})
    known = sorted({item[by.value] for item in items if item[by.value]})
    steps = periods(by.value, known[0], known[-1]) if known else []
    columns = columns_of(items, names)
    lines = _lines(items, by.value, columns[1] if group_by else "currency")
    rows = [row for line in lines for row in _moved(line, by.value, steps)]
    show_rows(rows, [*columns, *CHANGES], call.format)


def _lines(
    items: Sequence[dict[str, Any]], by: str, group_id: str
) -> Iterator[list[dict[str, Any]]]:
    """The items of each group in one currency, by period; names may change, ids do not."""

    def group(item: dict[str, Any]) -> tuple[str, str]:
        return currency_of(item), str(item[group_id] or "")

    in_order = sorted(items, key=lambda item: (*group(item), item[by] or ""))
    for _, members in groupby(in_order, group):
        yield list(members)


def _moved(
    line: Sequence[dict[str, Any]], by: str, steps: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """A row for each step; what belongs to no period comes last, and moves nothing."""
    there = {item[by]: item for item in line}
    empty = line[-1] | NOTHING
    before: Decimal | None = None
    for step in steps:
        row = there.get(step, empty | {by: step})
        now = Decimal(row["net"])
        moved = ("", "") if before is None else (format(now - before, "f"), change(now, before))
        yield row | dict(zip(CHANGES, moved, strict=True))
        before = now
    yield from (item for item in line if not item[by])
