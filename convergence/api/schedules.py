"""Schedules of a tenant; the paths of the source documents lead to the same operations."""

import re

from fastapi import APIRouter, Response

from convergence.api import paging, wire
from convergence.api.auth import TheTenant
from convergence.api.once import Sending
from convergence.api.paging import Cursor, Limit
from convergence.engine import arrange
from convergence.errors import Invalid, NotFound
from convergence.model.key import Scope
from convergence.store import schedules, tenants

router = APIRouter(prefix="/api/v1", tags=["schedules"])

ID = re.compile(r"[0-9a-f-]{36}")
ALL, THEIRS = "/tenants/{tenant_id}/schedules", "/scheduler/tenant/{tenant_id}/pipelines"
ONE, THEIR_ONE = f"{ALL}/{{config_id}}", f"{THEIRS}/{{config_id}}"
MISSES = 20
"""Shown with a schedule."""


@router.get(THEIRS, operation_id="list_schedules_of_tenant")
@router.get(ALL, operation_id="list_schedules")
def list_schedules(
    door: TheTenant, limit: Limit = paging.DEFAULT, cursor: Cursor = None
) -> wire.Page[wire.ScheduleOut]:
    """Schedules by id."""
    with door.service.database.read() as tx:
        tenants.get(tx, door.tenant_id)
        everything = schedules.of_tenant(tx, door.tenant_id)
    found = paging.after_name(everything, limit, cursor, name=lambda each: each.config_id)
    return paging.page_of(found, limit, key=lambda each: (each.config_id,), show=wire.schedule_out)


@router.post(
    THEIRS,
    status_code=201,
    operation_id="add_schedule_of_tenant",
    response_model=wire.ScheduleOut,
)
@router.post(ALL, status_code=201, operation_id="add_schedule", response_model=wire.ScheduleOut)
def add_schedule(door: TheTenant, wanted: wire.ScheduleIn, sent: Sending) -> Response:
    """Let a template run by itself. The caller must be able to run it, too."""
    door.caller.require_scopes({Scope.EXECUTE})

    def add() -> wire.ScheduleOut:
        return wire.schedule_out(
            arrange.add_schedule(door.service, door.tenant_id, wanted.to_request())
        )

    return sent.create(door, wanted, add)


@router.get(THEIR_ONE, operation_id="get_schedule_of_tenant")
@router.get(ONE, operation_id="get_schedule")
def get_schedule(door: TheTenant, config_id: str) -> wire.ScheduleShown:
    """A schedule, its next due times, and what was missed."""
    id_ = _checked(config_id)
    with door.service.database.read() as tx:
        schedule = schedules.get(tx, door.tenant_id, id_)
        missed = schedules.misses(tx, door.tenant_id, id_, limit=MISSES)
    return wire.schedule_shown(schedule, missed)


@router.patch(THEIR_ONE, operation_id="change_schedule_of_tenant")
@router.patch(ONE, operation_id="change_schedule")
def change_schedule(
    door: TheTenant, config_id: str, wanted: wire.SchedulePatch
) -> wire.ScheduleOut:
    """Change, pause (`is_active` false) or resume a schedule."""
    door.caller.require_scopes({Scope.EXECUTE})
    if not wanted.changes:
        raise Invalid(
            "nothing to change is given", code="nothing_to_change", hint='{"priority": 1}'
        )
    changed = arrange.change_schedule(
        door.service, door.tenant_id, _checked(config_id), wanted.changes
    )
    return wire.schedule_out(changed)


@router.delete(THEIR_ONE, status_code=204, operation_id="remove_schedule_of_tenant")
@router.delete(ONE, status_code=204, operation_id="remove_schedule")
def remove_schedule(door: TheTenant, config_id: str) -> None:
    """It never runs again; runs that it started go on."""
    arrange.remove_schedule(door.service, door.tenant_id, _checked(config_id))


def _checked(config_id: str) -> str:
    if not ID.fullmatch(config_id):
        raise NotFound(f"Schedule not found: {config_id[:60]}", code="schedule_not_found")
    return config_id
