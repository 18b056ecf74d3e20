"""The runs: how many are in which state, and the newest of them, in parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from convergence.errors import Invalid
from convergence.model.run import Run, RunFilter, Status
from convergence.store import fleet, runs
from convergence.web.problems import PageRoute
from convergence.web.render import page
from convergence.web.run import RUN_ID
from convergence.web.visitor import Looking, Visitor
from convergence.web.words import to

router = APIRouter(route_class=PageRoute, include_in_schema=False)

AT_ONCE = 50
COUNTED = 1000
"""Runs, the newest, that the strip counts: as many however many there are."""
SHOWN = tuple(status for status in Status if status is not Status.SKIPPED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the address chooses. `before` is a cursor; so is `since`: the newest run seen so far."""

    status: Status | None
    pipeline: str | None
    before: str | None
    since: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A part of the list. `older` is the cursor of the next one, and `since` of the newest run.

    `unseen` counts the runs that came since, up to one more than are shown at once.
    """

    wanted: Wanted
    runs: Sequence[Run]
    counts: Mapping[Status, int]
    older: str | None
    since: str | None
    unseen: int
    tenant_id: str | None


def read(
    status: Annotated[Status | None, Query()] = None,
    pipeline: Annotated[str | None, Query(max_length=300)] = None,
    before: Annotated[str | None, Query(max_length=100)] = None,
    since: Annotated[str | None, Query(max_length=100)] = None,
) -> Wanted:
    """Raises Invalid."""
    _moment(before)
    _moment(since)
    return Wanted(status=status, pipeline=pipeline, before=before, since=since)


Listing = Annotated[Wanted, Depends(read)]
Find = Annotated[str, Query(max_length=300)]


@router.get("/runs")
def show(visitor: Looking, wanted: Listing, request: Request, find: Find = "") -> Response:
    """The newest first, those after the cursor; or what is sought: a run, or a pipeline."""
    sought = find.strip()
    if sought:
        is_run = RUN_ID.fullmatch(sought)
        path, pipeline = (f"/runs/{sought}", None) if is_run else ("/runs", sought)
        found = to(path, tenant=visitor.chosen, pipeline=pipeline)
        return RedirectResponse(found, status_code=303)
    listed = list_runs(visitor, wanted)
    return page(request, "runs.html", visitor=visitor, here="runs", listed=listed)


def list_runs(visitor: Visitor, wanted: Wanted) -> Listed:
    found = _page(visitor, wanted, before=_moment(wanted.before))
    shown = found[:AT_ONCE]
    newest = _cursor(found[0]) if found and not wanted.before else wanted.since
    return Listed(
        wanted=wanted,
        runs=shown,
        counts=_counts(visitor),
        older=_cursor(shown[-1]) if len(found) > AT_ONCE else None,
        since=newest,
        unseen=_unseen(visitor, wanted),
        tenant_id=visitor.tenant.tenant_id if visitor.tenant else None,
    )


def _unseen(visitor: Visitor, wanted: Wanted) -> int:
    """How many runs came since an older part was opened; the newest part shows them itself."""
    since = _moment(wanted.since)
    if wanted.before is None or since is None:
        return 0
    newest = _page(visitor, wanted, before=None)
    return sum((run.created_at, run.run_id) > since for run in newest)


def _page(visitor: Visitor, of: Wanted, *, before: tuple[datetime, str] | None) -> list[Run]:
    statuses = frozenset({of.status} if of.status else ())
    wanted = RunFilter(statuses=statuses, pipeline_id=of.pipeline)
    with visitor.service.database.read() as tx:
        if visitor.tenant is None:
            return fleet.page_runs(tx, wanted, limit=AT_ONCE + 1, before=before)
        tenant_id = visitor.tenant.tenant_id
        return runs.page(tx, tenant_id, wanted, limit=AT_ONCE + 1, before=before)


def _counts(visitor: Visitor) -> dict[Status, int]:
    """How many of the newest runs are in each state."""
    with visitor.service.database.read() as tx:
        if visitor.tenant is None:
            found = fleet.count_newest(tx, limit=COUNTED)
        else:
            found = runs.count_newest(tx, visitor.tenant.tenant_id, limit=COUNTED)
    return {status: found.get(status, 0) for status in SHOWN}


def _cursor(run: Run) -> str:
    return f"{run.created_at.isoformat()}~{run.run_id}"


def _moment(cursor: str | None) -> tuple[datetime, str] | None:
    """Raises Invalid."""
    if cursor is None:
        return None
    text, _, run_id = cursor.partition("~")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Invalid(
            "This address does not lead to a part of the list",
            code="invalid_cursor",
            hint="begin at the newest run again",
        ) from error
    if moment.tzinfo is None or moment.year < 2:
        raise Invalid("A moment needs a time zone", code="invalid_cursor")
    return moment, run_id
