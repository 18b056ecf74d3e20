"""Schedules, and what the operator's scheduler routes tell."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AwareDatetime, ConfigDict, Field, StrictInt

from convergence.api.wire.shape import In, Json, Out
from convergence.errors import Invalid
from convergence.model.schedule import Miss, Schedule, ScheduleRequest, upcoming

if TYPE_CHECKING:
    from convergence.engine.schedule import Fired

SHOWN = 3
"""Next due times in an answer."""
Segment = Annotated[str, Field(min_length=1, max_length=100)]
Cron = Annotated[
    str, Field(max_length=200, description="Five fields: minute hour day month weekday")
]
Zone = Annotated[str, Field(max_length=100, description="An IANA time zone")]
Priority = Annotated[StrictInt, Field(ge=1, le=10, description="1 is the highest")]
CatchUp = Annotated[
    StrictInt, Field(ge=0, le=100, description="Of missed moments, so many of the latest still run")
]
DateOffset = Annotated[
    StrictInt, Field(ge=-366, le=0, description="Days from the due moment's UTC day to the run's")
]


class ScheduleIn(In):
    """A template that runs by itself."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "provider": "gcp",
                    "domain": "cost",
                    "pipeline_template": "cost_billing",
                    "schedule_cron": "0 3 * * *",
                    "timezone": "Europe/Berlin",
                }
            ]
        }
    )

    provider: Segment
    domain: Segment
    pipeline_template: Segment
    schedule_cron: Cron
    timezone: Zone = "UTC"
    is_active: bool = True
    parameters: Annotated[dict[str, str], Field(max_length=100)] = Field(default_factory=dict)
    priority: Priority = 5
    catch_up: CatchUp = 1
    date_offset: DateOffset = -1

    def to_request(self) -> ScheduleRequest:
        return ScheduleRequest(
            template=f"{self.provider}/{self.domain}/{self.pipeline_template}",
            cron=self.schedule_cron,
            timezone=self.timezone,
            is_active=self.is_active,
            parameters=self.parameters,
            priority=self.priority,
            catch_up=self.catch_up,
            date_offset=self.date_offset,
        )


class SchedulePatch(In):
    """What to change; what is absent stays."""

    schedule_cron: Cron | None = None
    timezone: Zone | None = None
    is_active: bool | None = None
    parameters: Annotated[dict[str, str] | None, Field(max_length=100)] = None
    priority: Priority | None = None
    catch_up: CatchUp | None = None
    date_offset: DateOffset | None = None

    @property
    def changes(self) -> dict[str, Any]:
        """By the names of the model."""
        given = self.model_dump(exclude_none=True)
        return {"cron" if name == "schedule_cron" else name: given[name] for name in given}


class ScheduleOut(Out):
    """`next_run_times` are the next three, in UTC; `problem` is what kept the last one."""

    config_id: str
    tenant_id: str
    provider: str
    domain: str
    pipeline_template: str
    schedule_cron: str
    timezone: str
    is_active: bool
    next_run_time: AwareDatetime | None
    next_run_times: list[AwareDatetime]
    last_run_time: AwareDatetime | None
    last_run_status: str | None
    last_pipeline_logging_id: str | None
    parameters: dict[str, str]
    priority: int
    catch_up: int
    date_offset: int
    waiting_since: AwareDatetime | None
    problem_code: str | None
    problem: str | None
    created_at: AwareDatetime
    updated_at: AwareDatetime | None


class MissOut(Out):
    """`count` moments, first to last, whose runs never came."""

    first_due: AwareDatetime
    last_due: AwareDatetime
    count: int
    code: str
    reason: str
    recorded_at: AwareDatetime


class ScheduleShown(ScheduleOut):
    """`missed`: the latest first, of the last 90 days."""

    missed: list[MissOut]


class FiredOut(Out):
    tenant_id: str
    config_id: str
    outcome: str
    due: AwareDatetime | None
    pipeline_logging_id: str | None
    problem: str


class TriggeredOut(Out):
    """`queued_count` wait for a slot of their tenant, `skipped_count` were missed or put off."""

    triggered_count: int
    queued_count: int
    skipped_count: int
    next_trigger_time: AwareDatetime | None
    details: list[FiredOut]


class QueueOut(Out):
    processed: bool
    pipeline_logging_id: str | None
    tenant_id: str | None
    pipeline_id: str | None
    status: Literal["IDLE", "PROCESSING"]
    message: str


class SchedulerStatusOut(Out):
    total_active_pipelines: int
    pipelines_due_now: int
    pipelines_queued: int
    pipelines_running: int
    pipelines_completed_today: int
    pipelines_failed_today: int
    queue_length: int
    avg_execution_time_seconds: float | None


class QuotasOut(Out):
    status: Literal["success"] = "success"
    records_updated: int
    records_archived: int = 0
    message: str
    executed_at: AwareDatetime


class CleanedOut(Out):
    tenant_id: str
    pipelines_cleaned: int


class CleanupOut(Out):
    status: Literal["success"] = "success"
    total_pipelines_cleaned: int
    tenants_processed: int
    tenants_with_cleanup: int
    details: list[CleanedOut]
    executed_at: AwareDatetime


def schedule_out(schedule: Schedule) -> ScheduleOut:
    return ScheduleOut(**_fields(schedule))


def schedule_shown(schedule: Schedule, missed: Sequence[Miss]) -> ScheduleShown:
    shown = [MissOut.model_validate(miss) for miss in missed]
    return ScheduleShown(**_fields(schedule), missed=shown)


def triggered_out(fired: "Sequence[Fired]", *, next_due: AwareDatetime | None) -> TriggeredOut:
    outcomes = [one.outcome.value for one in fired]
    triggered, waiting = outcomes.count("triggered"), outcomes.count("waiting")
    return TriggeredOut(
        triggered_count=triggered,
        queued_count=waiting,
        skipped_count=len(outcomes) - triggered - waiting,
        next_trigger_time=next_due,
        details=[_fired(one) for one in fired],
    )


def queue_out(fired: "Sequence[Fired]") -> QueueOut:
    run = next((one.run for one in fired if one.run is not None), None)
    return QueueOut(
        processed=bool(fired),
        pipeline_logging_id=run.run_id if run else None,
        tenant_id=fired[0].tenant_id if fired else None,
        pipeline_id=run.pipeline_id if run else None,
        status="PROCESSING" if run else "IDLE",
        message=fired[0].problem or "admitted; a worker takes it" if fired else "nothing is due",
    )


def _fired(one: "Fired") -> FiredOut:
    return FiredOut(
        tenant_id=one.tenant_id,
        config_id=one.config_id,
        outcome=one.outcome,
        due=one.due,
        pipeline_logging_id=one.run.run_id if one.run else None,
        problem=one.problem,
    )


def _fields(schedule: Schedule) -> Json:
    provider, domain, name = schedule.template.split("/")
    return {
        "config_id": schedule.config_id,
        "tenant_id": schedule.tenant_id,
        "provider": provider,
        "domain": domain,
        "pipeline_template": name,
        "schedule_cron": schedule.cron,
        "timezone": schedule.timezone,
        "is_active": schedule.is_active,
        "next_run_time": schedule.next_run_time,
        "next_run_times": _next_times(schedule),
        "last_run_time": schedule.last_run_time,
        "last_run_status": schedule.last_run_status,
        "last_pipeline_logging_id": schedule.last_run_id,
        "parameters": dict(schedule.parameters),
        "priority": schedule.priority,
        "catch_up": schedule.catch_up,
        "date_offset": schedule.date_offset,
        "waiting_since": schedule.waiting_since,
        "problem_code": schedule.problem_code,
        "problem": schedule.problem,
        "created_at": schedule.created_at,
        "updated_at": schedule.updated_at,
    }


def _next_times(schedule: Schedule) -> list[AwareDatetime]:
    """None when this machine lacks the time zone: the schedule is shown all the same."""
    try:
        return list(upcoming(schedule, SHOWN))
    except Invalid:
        return []
