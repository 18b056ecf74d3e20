"""Questions of SQL to the tenant's own tables."""

from fastapi import APIRouter

from convergence.api import wire
from convergence.api.auth import Anyone
from convergence.engine import costs

router = APIRouter(prefix="/api/v1", tags=["query"])


@router.post("/query", operation_id="query")
def query(door: Anyone, wanted: wire.QueryIn, tenant_id: str | None = None) -> wire.ResultOut:
    """One SELECT in BigQuery SQL. The operator asks as such, or as the tenant of `tenant_id`."""
    whose = door.tenant_or_all(tenant_id)
    with door.state.queries.of(whose):
        return wire.result_out(costs.query(door.service, whose, wanted.sql))
