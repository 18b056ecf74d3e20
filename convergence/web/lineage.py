"""Lineage: from a cost to the loads that hold its rows, with what proves them."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from convergence.engine.lineage import trace
from convergence.errors import Invalid
from convergence.model.day import parse_day
from convergence.model.lineage import Origin, Place
from convergence.web.choice import LEVELS, Choice
from convergence.web.problems import PageRoute
from convergence.web.render import page
from convergence.web.visitor import Looking

router = APIRouter(route_class=PageRoute, include_in_schema=False)

AT_ONCE = 20

Before = Annotated[str | None, Query(max_length=400)]


@router.get("/lineage")
def show(visitor: Looking, chosen: Choice, request: Request, before: Before = None) -> Response:
    """The latest days first, those after the cursor `before`."""
    tenant = visitor.subject
    found = trace(
        visitor.service,
        tenant.tenant_id,
        chosen.question(),
        limit=AT_ONCE + 1,
        after=_read(visitor, before),
    )
    shown = found[:AT_ONCE]
    return page(
        request,
        "lineage.html",
        visitor=visitor,
        here="costs",
        tenant=tenant,
        chosen_costs=chosen,
        levels=LEVELS,
        origins=shown,
        older=_cursor(shown[-1]) if len(found) > AT_ONCE else None,
    )


def _cursor(origin: Origin) -> str:
    return f"{origin.day}~{origin.source}"


def _read(visitor: Looking, cursor: str | None) -> Place | None:
    """Raises Invalid."""
    if cursor is None:
        return None
    day, found, source = cursor.partition("~")
    if not found:
        raise Invalid("This address does not lead to a part of the list", code="invalid_cursor")
    return parse_day(day, today=visitor.service.clock.now().date()), source
