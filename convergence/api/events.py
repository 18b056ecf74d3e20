"""What happens in a run: as a list, and as a stream of server-sent events that may be resumed."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent

from convergence.api import wire
from convergence.api.auth import Anyone, Door, check_again
from convergence.api.middleware import is_head
from convergence.api.runs import whose
from convergence.engine.follow import run_events
from convergence.errors import CdpError
from convergence.outside.logs import Log
from convergence.store import events, runs

router = APIRouter(prefix="/api/v1", tags=["runs"])

STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "Events `state` and `log`; the data is an EventOut, the id its sequence"},
    204: {"description": "The run is over, and nothing came after that event"},
}
Resumed = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        pattern=r"^[0-9]{0,18}$",
        description="The id of the last event seen: the stream goes on after it",
    ),
]
After = Annotated[int, Query(ge=0, lt=10**18, description="The same, for a first request")]

log = Log(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A run that the caller may follow, from the sequence `after` on."""

    door: Door
    tenant_id: str
    run_id: str
    after: int
    is_over: bool


def followed(
    door: Anyone,
    pipeline_logging_id: str,
    request: Request,
    response: Response,
    last_event_id: Resumed = None,
    after: After = 0,
) -> Followed:
    """Refuses while the answer is still a plain one."""
    tenant_id, run_id = whose(door, pipeline_logging_id), pipeline_logging_id
    after = int(last_event_id) if last_event_id else after
    with door.service.database.read() as tx:
        run = runs.get(tx, tenant_id, run_id)
        is_over = not run.is_live and not events.page(tx, tenant_id, run_id, after=after, limit=1)
    if is_over:
        response.status_code = 204
    else:
        door.state.feed.check_room(tenant_id)
    return Followed(
        door=door,
        tenant_id=tenant_id,
        run_id=run_id,
        after=after,
        is_over=is_over or is_head(request.scope),
    )


@router.get(
    "/pipelines/runs/{pipeline_logging_id}/events",
    operation_id="follow_run",
    response_class=EventSourceResponse,
    responses=STREAM,
)
async def follow_run(
    run: Annotated[Followed, Depends(followed)], request: Request
) -> AsyncIterator[ServerSentEvent]:
    """Follow a run: what happened, what happens, until its end. Send `Last-Event-ID` to go on."""
    if run.is_over:
        return
    happening = run_events(run.door.state.feed, run.tenant_id, run.run_id, after=run.after)
    try:
        async with aclosing(happening):
            async for found in happening:
                await run_in_threadpool(check_again, request)
                for event in found:
                    shown = wire.event_out(event)
                    yield ServerSentEvent(id=str(event.sequence), event=event.kind, data=shown)
    except CdpError as error:
        # Half an answer cannot become a problem document: the client comes back, and sees it then.
        log.warning("stream of events ended early", run_id=run.run_id, error=error.detail)


@router.get("/pipelines/runs/{pipeline_logging_id}/logs", operation_id="list_events")
def list_events(
    door: Anyone, pipeline_logging_id: str, wanted: Annotated[wire.LogQuery, Query()]
) -> wire.Page[wire.EventOut]:
    """What happened in a run, in order. `next_cursor` is the `after` of the next part."""
    tenant_id, run_id = whose(door, pipeline_logging_id), pipeline_logging_id
    with door.service.database.read() as tx:
        runs.get(tx, tenant_id, run_id)
        found = events.page(
            tx,
            tenant_id,
            run_id,
            after=wanted.after,
            levels=wanted.levels,
            limit=wanted.limit + 1,
        )
    items = [wire.event_out(event) for event in found[: wanted.limit]]
    has_more = len(found) > wanted.limit
    return wire.Page(items=items, next_cursor=str(items[-1].sequence) if has_more else None)
