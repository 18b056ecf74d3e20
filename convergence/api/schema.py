"""The tables beside their schemas, from the process that holds them."""

from typing import Annotated

from fastapi import APIRouter, Query

from convergence.api import wire
from convergence.api.auth import Operator
from convergence.engine import migrate

router = APIRouter(prefix="/api/v1/schema", tags=["schema"])


@router.get("", operation_id="get_schema")
def get_schema(
    door: Operator, tenant: Annotated[str | None, Query(max_length=63)] = None
) -> wire.SchemaOut:
    """Each table of each tenant, or of one, beside its schema; nothing is changed."""
    return wire.schema_out(migrate.status(door.service, tenant))
