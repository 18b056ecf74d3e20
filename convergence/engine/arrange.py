"""Arrange a tenant's schedules: add, change, remove. Everything is checked before it is stored."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from convergence.engine.service import Service
from convergence.errors import Invalid, NotFound
from convergence.model import binding
from convergence.model.schedule import Schedule, ScheduleRequest, check_cron, check_zone, next_due
from convergence.store import schedules, tenants

TIMING = frozenset({"cron", "timezone", "is_active"})
"""What, when it changes, makes the next moment another one."""


def add_schedule(service: Service, tenant_id: str, wanted: ScheduleRequest) -> Schedule:
    """Raises NotFound (the tenant) and Invalid."""
    now = service.clock.now()
    schedule = Schedule(
        config_id=str(uuid4()),
        tenant_id=tenant_id,
        template=wanted.template,
        cron=wanted.cron,
        timezone=wanted.timezone,
        is_active=wanted.is_active,
        next_run_time=None,
        parameters=wanted.parameters,
        priority=wanted.priority,
        catch_up=wanted.catch_up,
        date_offset=wanted.date_offset,
        created_at=now,
    )
    schedule = _timed(_checked(service, schedule), now)
    with service.database.write() as tx:
        schedules.add(tx, schedule)
    return schedule


def change_schedule(
    service: Service, tenant_id: str, config_id: str, changes: Mapping[str, Any]
) -> Schedule:
    """Change some fields of a schedule, by their names in `Schedule`. What was missed while it
    was not active is not caught up. Raises NotFound and Invalid.
    """
    now = service.clock.now()
    with service.database.write() as tx:
        tenants.lock(tx, tenant_id)
        schedule = replace(schedules.lock(tx, tenant_id, config_id), **changes, updated_at=now)
        if not changes.keys() <= {"is_active"} or schedule.is_active:
            schedule = _checked(service, schedule)
        if changes.keys() & TIMING:
            schedule = _timed(schedule, now)
        schedules.save(tx, schedule)
    return schedule


def remove_schedule(service: Service, tenant_id: str, config_id: str) -> None:
    """It never runs again; runs that it started go on. Raises NotFound."""
    with service.database.write() as tx:
        tenants.lock(tx, tenant_id)
        schedules.remove(tx, tenant_id, config_id, now=service.clock.now())


def _timed(schedule: Schedule, now: datetime) -> Schedule:
    """From now on: whatever it waited for, it waits no more."""
    then = next_due(schedule.cron, schedule.timezone, now) if schedule.is_active else None
    return replace(
        schedule,
        next_run_time=then,
        waiting_since=None,
        retry_at=None,
        problem_code=None,
        problem=None,
    )


def _checked(service: Service, schedule: Schedule) -> Schedule:
    """Raises Invalid: cron, time zone, template, parameters."""
    cron = check_cron(schedule.cron)
    check_zone(schedule.timezone)
    try:
        template = service.library.get(schedule.template)
    except NotFound as error:
        raise Invalid(error.detail, code="unknown_template", hint=error.hint) from error
    for name, value in schedule.parameters.items():
        binding.check_override(name, template.variables)
        binding.check_value(name, value)
    return replace(schedule, cron=cron)
