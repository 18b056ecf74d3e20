"""Links that sign somebody in to the dashboard, once."""

from fastapi import APIRouter, Request

from convergence.api import wire
from convergence.api.auth import Operator
from convergence.engine import signin
from convergence.model.session import LINK_LIFE

router = APIRouter(prefix="/api/v1", tags=["dashboard"])


@router.post("/sign-in-links", status_code=201, operation_id="make_sign_in_link")
def make_sign_in_link(
    door: Operator, request: Request, wanted: wire.SignInLinkIn | None = None
) -> wire.SignInLinkOut:
    """An address of the dashboard that is good once, for a tenant or for the operator."""
    path = signin.make_link(door.service, wanted.tenant_id if wanted else None)
    return wire.SignInLinkOut(
        url=f"{str(request.base_url).rstrip('/')}{path}",
        expires_at=door.service.clock.now() + LINK_LIFE,
    )
