"""Sources: which export which tenant may read, and which files it is."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from convergence.api import paging, wire
from convergence.api.auth import Operator
from convergence.api.once import Sending
from convergence.api.paging import Cursor, Limit
from convergence.engine import administer, inspect
from convergence.store import fleet

router = APIRouter(prefix="/api/v1/sources", tags=["sources"])


@router.post("", status_code=201, operation_id="put_source", response_model=wire.SourceOut)
def put_source(door: Operator, wanted: wire.SourceIn, sent: Sending) -> Response:
    """Add a source, or replace the one of the same table with its grants."""

    def put() -> wire.SourceOut:
        return wire.source_out(administer.put_source(door.service, wanted.to_source()))

    return sent.create(door, wanted, put)


@router.get("", operation_id="list_sources")
def list_sources(
    door: Operator, limit: Limit = paging.DEFAULT, cursor: Cursor = None
) -> wire.Page[wire.SourceOut]:
    """Sources by table."""
    with door.service.database.read() as tx:
        everything = fleet.sources(tx)
    found = paging.after_name(everything, limit, cursor, name=lambda each: each.table)
    return paging.page_of(found, limit, key=lambda each: (each.table,), show=wire.source_out)


@router.get("/check", operation_id="check_source")
def check_source(
    door: Operator, table: Annotated[str, Query(max_length=500)]
) -> wire.SourceCheckOut:
    """What each tenant sees of a source: kind, currencies, how far it reaches. Reads all of it."""
    return wire.source_check_out(table, inspect.inspect(door.service, table))


@router.delete("", status_code=204, operation_id="remove_source")
def remove_source(door: Operator, table: Annotated[str, Query(max_length=500)]) -> None:
    """Forget a source and its grants. What was loaded from it stays."""
    administer.remove_source(door.service, table)


@router.delete("/{table}", status_code=204, operation_id="remove_source_by_path")
def remove_source_by_path(door: Operator, table: str) -> None:
    """The same, the table in the path."""
    administer.remove_source(door.service, table)
