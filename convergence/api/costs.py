"""Costs: exact sums of what was loaded, by day, service and so on; never across currencies."""

import csv
import io
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from convergence.api import wire
from convergence.api.auth import Anyone
from convergence.api.bills import whose
from convergence.engine import reconcile

router = APIRouter(prefix="/api/v1", tags=["costs"])

RISKY = ("=", "+", "-", "@", "\t", "\r")
"""A text that begins so is a formula to a spreadsheet."""


@router.get("/costs", operation_id="get_costs", response_model=wire.CostsOut)
def get_costs(
    door: Anyone, wanted: Annotated[wire.CostsQuery, Query()]
) -> wire.CostsOut | Response:
    """Rows, cost, credits and net of each group and currency; money as exact texts."""
    tenant_id = whose(door, wanted.tenant_id)
    bill = reconcile.bill(door.service, tenant_id, wanted.to_question(), wanted.moment)
    if wanted.format == "csv":
        wire.check_whole(bill.result)
        text = _csv([name for name, _ in bill.result.columns], bill.result.rows)
        return Response(text, media_type="text/csv; charset=utf-8")
    return wire.costs_out(bill)


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
