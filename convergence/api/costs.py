"""Costs: exact sums of what was loaded, by day, service and so on; never across currencies."""

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from convergence.api import wire
from convergence.api.auth import Anyone
from convergence.engine import costs
from convergence.errors import Invalid
from convergence.model.cost import CostQuery, Dimension
from convergence.model.day import FIRST_DAY, parse_day

router = APIRouter(prefix="/api/v1", tags=["costs"])

FAR = date(2999, 12, 31)
RISKY = ("=", "+", "-", "@", "\t", "\r")
"""A text that begins so is a formula to a spreadsheet."""


@router.get("/costs", operation_id="get_costs", response_model=wire.Page[wire.CostItem])
def get_costs(
    door: Anyone, wanted: Annotated[wire.CostsQuery, Query()]
) -> wire.Page[dict[str, Any]] | Response:
    """Rows, cost, credits and net of each group and currency; money as exact texts."""
    tenant_id = door.tenant_or_all(wanted.tenant_id)
    if tenant_id is None:
        raise Invalid("say whose costs", code="tenant_missing", hint="?tenant_id=…")
    result = costs.summary(door.service, tenant_id, _question(wanted))
    if result.truncated:
        raise Invalid(
            f"more than {len(result.rows):,} groups",
            code="too_many_groups",
            hint="ask for fewer days or fewer groups",
        )
    if wanted.format == "csv":
        text = _csv([name for name, _ in result.columns], result.rows)
        return Response(text, media_type="text/csv; charset=utf-8")
    return wire.Page(items=wire.items_out(result))


def _question(wanted: wire.CostsQuery) -> CostQuery:
    filters: dict[Dimension, list[str]] = defaultdict(list)
    for text in wanted.filter:
        name, found, value = text.partition("=")
        if not found:
            raise Invalid("a filter is name=id", code="invalid_filter", hint="filter=service=6F81")
        filters[_dimension(name, "filtered")].append(value)
    names = [name for name in wanted.group_by.split(",") if name]
    return CostQuery(
        date_from=parse_day(wanted.date_from, today=FAR) if wanted.date_from else FIRST_DAY,
        date_to=parse_day(wanted.date_to, today=FAR) if wanted.date_to else FAR,
        group_by=tuple(_dimension(name, "grouped") for name in names),
        filters={dimension: tuple(values) for dimension, values in filters.items()},
    )


def _dimension(name: str, what: str) -> Dimension:
    if name not in list(Dimension):
        raise Invalid(
            f"costs cannot be {what} by {name[:40]!r}",
            code="invalid_dimension",
            hint=f"one of {', '.join(Dimension)}",
        )
    return Dimension(name)


def _csv(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(RISKY) else value
    return wire.json_value(value)
