"""Costs: exact sums of what was loaded, by day, service and so on; never across currencies."""

import os
from collections.abc import Iterator, Mapping
from typing import Annotated, BinaryIO

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from convergence.api import paging, wire
from convergence.api.auth import Anyone
from convergence.api.bills import whose
from convergence.api.presence import WhileThere, asker
from convergence.engine import costs, reconcile
from convergence.model.cost import FileFormat, Shape
from convergence.model.spreadsheet import to_csv

router = APIRouter(prefix="/api/v1", tags=["costs"])

CHUNK = 1 << 20
TYPES: Mapping[FileFormat, str] = {
    FileFormat.CSV: "text/csv; charset=utf-8",
    FileFormat.JSON: "application/json",
    FileFormat.JSONL: "application/x-ndjson",
    FileFormat.PARQUET: "application/vnd.apache.parquet",
}


@router.get("/costs", operation_id="get_costs", response_model=wire.CostsOut)
def get_costs(
    door: Anyone, wanted: Annotated[wire.CostsQuery, Query()], there: WhileThere
) -> wire.CostsOut | Response:
    """Rows, cost, credits and net of each group and currency; money as exact texts."""
    tenant_id = whose(door, wanted.tenant_id)
    question = wanted.to_question()
    wire.check_parts(wanted)
    is_stored = wanted.moment is None and not question.with_rates
    if wanted.format == "parquet" or (wanted.format == "csv" and is_stored):
        wire.check_stored(is_stored=is_stored)
        form = FileFormat(wanted.format)
        with door.state.queries.of(tenant_id):
            file = costs.export_bill(
                door.service, tenant_id, question, shape=Shape.GROUPS, form=form, cancel=there
            )
        return _file(file, form, f"{tenant_id}_costs")
    part, who = paging.read_part(wanted.cursor, wanted.limit), asker(door, tenant_id, there)
    if part is not None:
        found = reconcile.bill_in_part(door.service, tenant_id, question, wanted.moment, part, who)
        return wire.costs_out(found, paging.part_cursor(found.following))
    bill = reconcile.bill(door.service, tenant_id, question, wanted.moment, who)
    if wanted.format == "csv":
        wire.check_whole(bill.result)
        text = to_csv([name for name, _ in bill.result.columns], bill.result.rows)
        return Response(text, media_type=TYPES[FileFormat.CSV])
    return wire.costs_out(bill)


@router.get("/costs/export", operation_id="export_costs", response_class=StreamingResponse)
def export_costs(
    door: Anyone, wanted: Annotated[wire.ExportQuery, Query()], there: WhileThere
) -> Response:
    """A file of the bill's rows, of those rows as FOCUS 1.2, or of groups; whole, or an error."""
    tenant_id = whose(door, wanted.tenant_id)
    question, shape = wanted.to_question(), wanted.shape
    with door.state.queries.of(tenant_id):
        file = costs.export_bill(
            door.service, tenant_id, question, shape=shape, form=wanted.format, cancel=there
        )
    return _file(file, wanted.format, f"{tenant_id}_{shape}")


def _file(file: BinaryIO, form: FileFormat, name: str) -> Response:
    """Its length is said: what breaks off on the way is seen to be too short."""
    headers = {
        "Content-Length": str(os.fstat(file.fileno()).st_size),
        "Content-Disposition": f'attachment; filename="{name}.{form}"',
    }
    return StreamingResponse(_parts(file), media_type=TYPES[form], headers=headers)


def _parts(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while part := file.read(CHUNK):
            yield part
