"""Questions of SQL to the tenant's own tables."""

from collections.abc import Iterator
from typing import BinaryIO, Literal

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from convergence.api import wire
from convergence.api.auth import Anyone
from convergence.api.presence import WhileThere
from convergence.engine import costs

router = APIRouter(prefix="/api/v1", tags=["query"])

PIECE = 1 << 16
MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}


@router.post("/query", operation_id="query", response_model=wire.ResultOut)
def query(
    door: Anyone,
    wanted: wire.QueryIn,
    there: WhileThere,
    tenant_id: str | None = None,
    format: Literal["json", "csv", "parquet"] = "json",  # noqa: A002 - its name on the wire
) -> wire.ResultOut | StreamingResponse:
    """One SELECT in BigQuery SQL. The operator asks as such, or as the tenant of `tenant_id`.

    `csv` and `parquet` give the whole answer as a file; JSON is cut off and says so.
    """
    whose = door.tenant_or_all(tenant_id)
    with door.state.queries.of(whose):
        if format == "json":
            return wire.result_out(costs.query(door.service, whose, wanted.sql, there))
        return _file(costs.export(door.service, whose, wanted.sql, format, there), format)


@router.post("/query/explain", operation_id="explain_query")
def explain_query(
    door: Anyone, wanted: wire.QueryIn, tenant_id: str | None = None
) -> wire.ExplainOut:
    """What the warehouse would run, what it would read, and what of it is approximate."""
    whose = door.tenant_or_all(tenant_id)
    with door.state.queries.of(whose):
        return wire.explain_out(costs.explain(door.service, whose, wanted.sql))


def _file(content: BinaryIO, form: str) -> StreamingResponse:
    size = content.seek(0, 2)
    content.seek(0)
    return StreamingResponse(
        _pieces(content),
        media_type=MEDIA_TYPES[form],
        headers={
            "Content-Length": str(size),
            "Content-Disposition": f'attachment; filename="query.{form}"',
        },
    )


def _pieces(content: BinaryIO) -> Iterator[bytes]:
    with content:
        while piece := content.read(PIECE):
            yield piece
