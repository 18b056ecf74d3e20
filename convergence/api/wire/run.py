"""Runs: what is asked for, and what is told of one."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from convergence.api.wire.shape import In, Json, Out, any_day
from convergence.model.day import parse_day
from convergence.model.run import (
    LaunchRequest,
    RetryRequest,
    Run,
    RunFilter,
    Status,
    StepRun,
    Trigger,
)

FIRST, LAST = datetime(2, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
"""Moments that have a time in UTC wherever their zone is."""


class RunIn(In):
    """`date` is YYYY-MM-DD, yesterday (UTC) when absent. Further fields are template variables."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={"examples": [{"date": "2024-11-01", "trigger_by": "docker_test"}]},
    )
    __pydantic_extra__: dict[str, str | int]

    date: str | None = None
    trigger_by: str = "api_user"
    variables: dict[str, str] = Field(default_factory=dict)
    trigger_type: Literal["backfill"] | None = Field(
        default=None, description="That it is one of many past days"
    )
    allow_shrink: bool = Field(
        default=False, description="Accept that the source holds less than what was published"
    )

    @field_validator("date", mode="before")
    @classmethod
    def _a_day(cls, value: object) -> object:
        if value is not None and not isinstance(value, str):
            raise PydanticCustomError("not_a_day", "must be a text such as 2024-11-01 (YYYY-MM-DD)")
        return value

    @model_validator(mode="after")
    def _say_a_thing_once(self) -> Self:
        if self.__pydantic_extra__.keys() & self.variables.keys():
            raise ValueError("a variable stands in variables and beside it")
        return self

    def to_request(
        self, tenant_id: str, template: str, *, trigger: Trigger, now: datetime
    ) -> LaunchRequest:
        """Raises Invalid when `date` is no day."""
        beside = {name: str(value) for name, value in self.__pydantic_extra__.items()}
        return LaunchRequest(
            tenant_id=tenant_id,
            template=template,
            run_date=None if self.date is None else parse_day(self.date, today=now.date()),
            trigger=Trigger(self.trigger_type or trigger),
            trigger_by=self.trigger_by,
            variables={**beside, **self.variables},
            allow_shrink=self.allow_shrink,
        )


class RunsQuery(BaseModel):
    """Which runs to list; what is absent does not narrow. Days are YYYY-MM-DD, both included."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant_id: str | None = Field(default=None, description="The operator's choice of a tenant")
    status: list[Status] = Field(default_factory=list, description="One or several")
    pipeline_id: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9_-]{1,200}$")] = None
    date_from: str | None = Field(default=None, description="Usage days from here on")
    date_to: str | None = Field(default=None, description="Usage days up to this one")
    since: Annotated[AwareDatetime | None, Field(ge=FIRST, lt=LAST)] = Field(
        default=None, description="Accepted at this time or later"
    )
    limit: Annotated[int, Field(ge=1, le=1000)] = 20
    cursor: Annotated[str | None, Field(max_length=500)] = None

    def to_filter(self) -> RunFilter:
        """Raises Invalid when a date is no day."""
        return RunFilter(
            statuses=frozenset(self.status),
            pipeline_id=self.pipeline_id,
            date_from=any_day(self.date_from),
            date_to=any_day(self.date_to),
            since=self.since,
        )


class RetryIn(In):
    """From the first step that did not complete, or all of it again."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"from": "failed_step"}]})

    start_at: Literal["failed_step", "start"] = Field(default="failed_step", alias="from")
    trigger_by: str | None = None

    def to_request(self, tenant_id: str, run_id: str) -> RetryRequest:
        return RetryRequest(
            tenant_id=tenant_id,
            run_id=run_id,
            is_whole=self.start_at == "start",
            trigger_by=self.trigger_by,
        )


class RunAccepted(Out):
    pipeline_logging_id: str
    pipeline_id: str
    tenant_id: str
    status: Status
    message: str


class RunOut(Out):
    """A run. It was accepted at `created_at` and first claimed at `start_time`."""

    pipeline_logging_id: str = Field(validation_alias="run_id")
    pipeline_id: str
    tenant_id: str
    template: str
    status: Status
    trigger_type: Trigger = Field(validation_alias="trigger")
    trigger_by: str
    run_date: date
    created_at: AwareDatetime
    start_time: AwareDatetime | None = Field(validation_alias="started_at")
    end_time: AwareDatetime | None = Field(validation_alias="ended_at")
    duration_ms: int | None
    attempt: int
    parameters: dict[str, str]
    is_sample: bool
    cancel_requested: bool
    retry_of: str | None
    error_code: str | None
    error: str | None


class StepOut(Out):
    """A step of a run. `report` is what the step tells of itself: totals, SQL, warnings."""

    step_id: str
    step_name: str = Field(validation_alias="name")
    ps_type: str
    step_index: int = Field(validation_alias="index")
    status: Status
    attempt: int
    start_time: AwareDatetime | None = Field(validation_alias="started_at")
    end_time: AwareDatetime | None = Field(validation_alias="ended_at")
    duration_ms: int | None
    row_count: int | None = Field(validation_alias="rows")
    error_code: str | None
    error: str | None
    report: Json


class RunWithSteps(RunOut):
    steps: list[StepOut] = Field(default_factory=list)


def run_out(run: Run) -> RunOut:
    return RunOut.model_validate(run)


def run_with_steps(run: Run, steps: Sequence[StepRun]) -> RunWithSteps:
    """The run and its steps, in the order of the template."""
    shown = [StepOut.model_validate(step) for step in steps]
    return RunWithSteps.model_validate(run).model_copy(update={"steps": shown})


def accepted_out(run: Run, *, is_new: bool, by_id: bool = False) -> RunAccepted:
    """In the words of the source documents; they depend on whether it was asked for by its id."""
    name = run.template.rpartition("/")[2]
    message = f"Templated pipeline {name} triggered successfully for {run.tenant_id} (async mode)"
    if by_id:
        message = f"Pipeline {run.pipeline_id} triggered successfully (async mode)"
    if not is_new:
        message = (
            f"Pipeline {run.pipeline_id} already running or pending - "
            f"returning existing execution {run.run_id}"
        )
    return RunAccepted(
        pipeline_logging_id=run.run_id,
        pipeline_id=run.pipeline_id,
        tenant_id=run.tenant_id,
        status=run.status,
        message=message,
    )
