"""Runs: ask for one, look at one, list them."""

import re
from datetime import UTC
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from convergence.api import paging, wire
from convergence.api.auth import Anyone, Door, TheTenant
from convergence.api.once import Sending
from convergence.api.pipelines import find_pipeline
from convergence.engine.cancel import cancel
from convergence.engine.launch import Launched
from convergence.errors import NotFound
from convergence.model.run import LaunchRequest, Run, Trigger
from convergence.store import fleet, runs, tenants

router = APIRouter(prefix="/api/v1", tags=["runs"])

RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LIVE_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"model": wire.RunAccepted, "description": "The live run of the same work"}
}
CANCELLED_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"model": wire.RunOut, "description": "The run is CANCELLED"}
}


@router.post(
    "/pipelines/run/{tenant_id}/{provider}/{domain}/{template_name}",
    status_code=202,
    operation_id="run_template",
    response_model=wire.RunAccepted,
    responses=LIVE_ANSWER,
)
def run_template(
    door: TheTenant,
    provider: str,
    domain: str,
    template_name: str,
    sent: Sending,
    wanted: wire.RunIn | None = None,
) -> Response:
    """Ask for a run of a template: 202, or 200 with the live run of the same work."""
    template = f"{provider}/{domain}/{template_name}"
    return sent.launch(door, wanted, _asked(door, door.tenant_id, template, wanted), _accepted)


@router.post(
    "/pipelines/run/{pipeline_id}",
    status_code=202,
    operation_id="run_pipeline",
    response_model=wire.RunAccepted,
    responses=LIVE_ANSWER,
    deprecated=True,
)
def run_pipeline(
    door: Anyone, pipeline_id: str, sent: Sending, wanted: wire.RunIn | None = None
) -> Response:
    """The same by the pipeline's id. The tenant is the caller, or the one in the id."""
    pipeline = find_pipeline(door.service, pipeline_id, door.caller.tenant_id)
    asked = _asked(door, pipeline.tenant_id, pipeline.template, wanted)
    return sent.launch(door, wanted, asked, partial(_accepted, by_id=True))


@router.post(
    "/tenants/{tenant_id}/pipelines/{pipeline_id}/run",
    status_code=202,
    operation_id="run_pipeline_of_tenant",
    response_model=wire.RunAccepted,
    responses=LIVE_ANSWER,
)
def run_pipeline_of_tenant(
    door: TheTenant, pipeline_id: str, sent: Sending, wanted: wire.RunIn | None = None
) -> Response:
    """The same by tenant and the pipeline's id."""
    pipeline = find_pipeline(door.service, pipeline_id, door.tenant_id)
    asked = _asked(door, pipeline.tenant_id, pipeline.template, wanted)
    return sent.launch(door, wanted, asked, partial(_accepted, by_id=True))


@router.get("/pipelines/runs/{pipeline_logging_id}", operation_id="get_run")
def get_run(door: Anyone, pipeline_logging_id: str) -> wire.RunWithSteps:
    """A run and its steps."""
    tenant_id, run_id = whose(door, pipeline_logging_id), pipeline_logging_id
    with door.service.database.read() as tx:
        run = runs.get(tx, tenant_id, run_id)
        return wire.run_with_steps(run, runs.steps(tx, tenant_id, run_id))


@router.post(
    "/pipelines/runs/{pipeline_logging_id}/cancel",
    status_code=202,
    operation_id="cancel_run",
    responses=CANCELLED_ANSWER,
)
@router.delete(
    "/pipelines/runs/{pipeline_logging_id}",
    status_code=202,
    operation_id="delete_run",
    responses=CANCELLED_ANSWER,
)
def cancel_run(door: Anyone, pipeline_logging_id: str, response: Response) -> wire.RunOut:
    """End a run: 202 when it was asked to end, 200 when it is CANCELLED. Safe to repeat."""
    run = cancel(door.service, whose(door, pipeline_logging_id), pipeline_logging_id)
    response.status_code = 202 if run.is_live else 200
    return wire.run_out(run)


@router.post(
    "/pipelines/runs/{pipeline_logging_id}/retry",
    status_code=202,
    operation_id="retry_run",
    response_model=wire.RunAccepted,
    responses=LIVE_ANSWER,
)
def retry_run(
    door: Anyone, pipeline_logging_id: str, sent: Sending, wanted: wire.RetryIn | None = None
) -> Response:
    """Do again what a run did not finish, as a new run: 202, or 200 with the live run of the work.

    What it finished is copied; `{"from": "start"}` runs all of it.
    """
    tenant_id = whose(door, pipeline_logging_id)
    request = (wanted or wire.RetryIn()).to_request(tenant_id, pipeline_logging_id)
    return sent.retry(door, wanted, request, partial(_accepted, by_id=True))


@router.get("/pipelines/runs", operation_id="list_runs")
def list_runs(door: Anyone, wanted: Annotated[wire.RunsQuery, Query()]) -> wire.Page[wire.RunOut]:
    """Runs, the newest first. The operator sees those of all tenants, or of `tenant_id`."""
    tenant_id = door.tenant_or_all(wanted.tenant_id)
    chosen = wanted.to_filter()
    before = paging.read_moment(wanted.cursor)
    limit = wanted.limit + 1
    with door.service.database.read() as tx:
        if tenant_id is None:
            found = fleet.page_runs(tx, chosen, limit=limit, before=before)
        else:
            tenants.get(tx, tenant_id)
            found = runs.page(tx, tenant_id, chosen, limit=limit, before=before)
    return paging.page_of(found, wanted.limit, key=_key, show=wire.run_out)


def whose(door: Door, run_id: str) -> str:
    """The tenant whose run it should be. Raises NotFound."""
    own = door.caller.tenant_id
    if not RUN_ID.fullmatch(run_id):
        raise _absent(run_id, own)
    if own is not None:
        return own
    with door.service.database.read() as tx:
        tenant_id = fleet.run_tenant(tx, run_id)
    if tenant_id is None:
        raise _absent(run_id, None)
    return tenant_id


def _asked(door: Door, tenant_id: str, template: str, wanted: wire.RunIn | None) -> LaunchRequest:
    now = door.service.clock.now()
    trigger = Trigger.CLI if door.is_command else Trigger.API
    return (wanted or wire.RunIn()).to_request(tenant_id, template, trigger=trigger, now=now)


def _accepted(launched: Launched, *, by_id: bool = False) -> wire.RunAccepted:
    return wire.accepted_out(launched.run, is_new=launched.is_new, by_id=by_id)


def _absent(run_id: str, tenant_id: str | None) -> NotFound:
    whose = f" for tenant {tenant_id}" if tenant_id else ""
    return NotFound(f"Pipeline run {run_id[:60]} not found{whose}", code="run_not_found")


def _key(run: Run) -> tuple[str, str]:
    return run.created_at.astimezone(UTC).isoformat(), run.run_id
