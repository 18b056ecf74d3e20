"""What changes while one looks: fragments of HTML as server-sent events, one stream to a page.

Each fragment is the whole changing part of a page, as it is now: who comes back after a break has
missed nothing with the first one. `live.html` has the other end.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent

from convergence.engine.follow import run_events, tenant_events
from convergence.errors import CdpError
from convergence.outside.logs import Log
from convergence.web import run as run_page
from convergence.web.problems import PageRoute
from convergence.web.render import fragment
from convergence.web.runs import Listing, list_runs
from convergence.web.visitor import Looking, Visitor, check_again

router = APIRouter(route_class=PageRoute, include_in_schema=False)

PAUSE_SECONDS = 0.25
"""Between two fragments to one visitor, at least."""
OVER = "over"
"""The event after which nothing comes any more."""

log = Log(__name__)


def followed(visitor: Looking, run_id: str) -> tuple[Visitor, str]:
    """Refuses while the answer is still a plain one."""
    tenant_id = run_page.whose(visitor, run_id)
    run_page.read(visitor.service, tenant_id, run_id)
    return visitor, tenant_id


@router.get("/events/runs", response_class=EventSourceResponse)
async def follow_runs(
    visitor: Looking, wanted: Listing, request: Request
) -> AsyncIterator[ServerSentEvent]:
    """The list of runs, each time that one of them changes."""
    tenant_id = visitor.tenant.tenant_id if visitor.tenant else None
    happening = tenant_events(visitor.state.feed, tenant_id)
    try:
        async with aclosing(happening):
            async for happened in happening:
                await run_in_threadpool(check_again, request)
                listed = await run_in_threadpool(list_runs, visitor, wanted)
                text = fragment("run_parts.html", "listed", listed, visitor.chosen)
                yield ServerSentEvent(id=str(happened.position), raw_data=text)
                await asyncio.sleep(PAUSE_SECONDS)
    except CdpError as error:
        log.info("stream of runs ended", error=error.detail)


@router.get("/events/runs/{run_id}", response_class=EventSourceResponse)
async def follow_run(
    found: Annotated[tuple[Visitor, str], Depends(followed)], run_id: str, request: Request
) -> AsyncIterator[ServerSentEvent]:
    """A run, each time that something happens in it, until it is over."""
    visitor, tenant_id = found
    happening = run_events(visitor.state.feed, tenant_id, run_id)
    try:
        async with aclosing(happening):
            async for events in happening:
                await run_in_threadpool(check_again, request)
                shown = await run_in_threadpool(run_page.read, visitor.service, tenant_id, run_id)
                text = fragment("run_parts.html", "run", shown, visitor)
                yield ServerSentEvent(id=str(events[-1].sequence), raw_data=text)
                if not shown.run.is_live:
                    break
                await asyncio.sleep(PAUSE_SECONDS)
        yield ServerSentEvent(event=OVER, raw_data="")
    except CdpError as error:
        log.info("stream of a run ended", run_id=run_id, error=error.detail)
