"""Costs: exact sums of what was loaded, by day, service and so on; never across currencies."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from convergence.api import wire
from convergence.api.auth import Anyone
from convergence.api.bills import whose
from convergence.engine import reconcile
from convergence.model.spreadsheet import to_csv

router = APIRouter(prefix="/api/v1", tags=["costs"])


@router.get("/costs", operation_id="get_costs", response_model=wire.CostsOut)
def get_costs(
    door: Anyone, wanted: Annotated[wire.CostsQuery, Query()]
) -> wire.CostsOut | Response:
    """Rows, cost, credits and net of each group and currency; money as exact texts."""
    tenant_id = whose(door, wanted.tenant_id)
    bill = reconcile.bill(door.service, tenant_id, wanted.to_question(), wanted.moment)
    if wanted.format == "csv":
        wire.check_whole(bill.result)
        text = to_csv([name for name, _ in bill.result.columns], bill.result.rows)
        return Response(text, media_type="text/csv; charset=utf-8")
    return wire.costs_out(bill)
