"""The keys of a template, as YAML gives them: every value a text, a list or a mapping.

Older names of the source documents are accepted here and nowhere else.
"""

from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from convergence.model import binding
from convergence.model.template import OnFailure, Retry, SourceFamily, StepTrigger

V = TypeVar("V")
MAX_STEPS = 200

Name = Annotated[str, Field(pattern=f"^{binding.NAME.pattern}$")]
StepId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$")]
Text = Annotated[str, Field(max_length=2000)]
Retries = Annotated[int, Field(ge=0, le=10)]
Seconds = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]


def _older(default: object, advice: str) -> Any:  # noqa: ANN401 - what Field gives
    return Field(default=default, description=advice, json_schema_extra={"deprecated": True})


class Keys(BaseModel):
    """A mapping that holds these keys and no other."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def _refuse_both(self, one: str, other: str) -> None:
        if {one, other} <= self.model_fields_set:
            raise ValueError(f"{one} and {other} say the same thing: keep {one}")


class VariableKeys(Keys):
    """A variable: its default alone, or these keys. Without a default it must be given."""

    model_config = ConfigDict(json_schema_extra={"type": ["object", "string", "null"]})

    default: str | None = None
    description: Text = ""
    source: SourceFamily | None = Field(
        default=None,
        description="The variable names a billing export; without a value it is the tenant's "
        "only source of this family",
    )

    @model_validator(mode="before")
    @classmethod
    def _take_a_default_alone(cls, value: object) -> object:
        return {"default": value} if value is None or isinstance(value, str) else value

    @field_validator("default")
    @classmethod
    def _check_default(cls, value: str | None) -> str | None:
        if value is not None and (wrong := binding.wrong_text(value, longest=binding.MAX_VALUE)):
            raise ValueError(f"the value {wrong}")
        return value


class RetryKeys(Keys):
    """How often a step is tried in all, and the first pause between two tries."""

    max_attempts: Annotated[int, Field(ge=1, le=11)] = Retry().max_attempts
    backoff_seconds: Seconds = Retry().backoff_seconds

    @property
    def retry(self) -> Retry:
        return Retry(max_attempts=self.max_attempts, backoff_seconds=self.backoff_seconds)


class RetryPolicyKeys(Keys):
    """The older form of `retry`: tries after the first one, and the pause."""

    max_retries: Retries = 3
    retry_delay_seconds: Seconds = Retry().backoff_seconds

    @property
    def retry(self) -> Retry:
        return Retry(max_attempts=self.max_retries + 1, backoff_seconds=self.retry_delay_seconds)


class StepKeys(Keys):
    """A step. Keys that are not listed here are the step type's own."""

    model_config = ConfigDict(extra="allow")

    step_id: StepId
    ps_type: str = Field(description="The step type: its file below steps/, with dots")
    name: Text = Field(default="", description="For people; the step_id when absent")
    description: Text = ""
    trigger: StepTrigger = Field(
        default=StepTrigger.ALWAYS,
        description="always: with the other steps. on_*: after them, by the run's outcome",
    )
    depends_on: list[str] | None = Field(
        default=None, description="Steps to wait for; when absent, the step written before"
    )
    timeout_minutes: Annotated[float, Field(gt=0, le=120, allow_inf_nan=False)] = 10
    retry: RetryKeys | None = None
    on_failure: OnFailure | None = Field(
        default=None, description="stop the run, continue with it, or alert: stop and notify"
    )
    variables: dict[Name, Annotated[str, Field(max_length=binding.MAX_VALUE)]] = {}
    metadata: dict[str, Any] = Field(default={}, description="Notes: shown, never read")
    retry_policy: RetryPolicyKeys | None = _older(None, "use retry")
    fail_on_error: bool | None = _older(None, "use on_failure")
    config: dict[str, Any] = _older({}, "put its keys into the step")
    dq_config: str | dict[str, Any] | None = _older(None, "checks do not run")

    @model_validator(mode="after")
    def _say_a_thing_once(self) -> Self:
        self._refuse_both("retry", "retry_policy")
        if self.fail_on_error is not None and self.on_failure is not None:
            goes_on = self.on_failure is OnFailure.CONTINUE
            if goes_on is self.fail_on_error:
                raise ValueError("fail_on_error and on_failure contradict: keep on_failure")
        return self

    @field_validator("variables")
    @classmethod
    def _keep_built_ins(cls, value: dict[str, str]) -> dict[str, str]:
        return _without_built_ins(value)

    @property
    def own(self) -> dict[str, Any]:
        """The step type's own keys."""
        return {**self.config, **(self.model_extra or {})}


class TemplateKeys(Keys):
    """A pipeline template: what runs, in which order, with which variables."""

    pipeline_id: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_{}-]{1,200}$")]
    description: Text = ""
    version: Annotated[str, Field(max_length=50)] = "1"
    schedule: Text | None = Field(default=None, description="Shown; schedules are made per tenant")
    variables: dict[Name, VariableKeys] = {}
    timeout_minutes: Annotated[float, Field(gt=0, le=1440, allow_inf_nan=False)] = 30
    steps: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_STEPS)]
    parameters: dict[Name, VariableKeys] = _older({}, "use variables")
    timeout_seconds: Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)] | None = _older(
        None, "use timeout_minutes"
    )
    retry_attempts: Retries | None = _older(None, "use retry in the step")
    max_retries: Retries | None = _older(None, "use retry in the step")
    on_failure_action: OnFailure | None = _older(None, "use on_failure in the step")

    @model_validator(mode="after")
    def _say_a_thing_once(self) -> Self:
        self._refuse_both("timeout_minutes", "timeout_seconds")
        self._refuse_both("retry_attempts", "max_retries")
        if both := self.variables.keys() & self.parameters.keys():
            raise ValueError(f"{min(both)} is declared in variables and in parameters")
        return self

    @field_validator("variables", "parameters")
    @classmethod
    def _keep_built_ins(cls, value: dict[str, VariableKeys]) -> dict[str, VariableKeys]:
        return _without_built_ins(value)

    @property
    def minutes(self) -> float:
        return self.timeout_minutes if self.timeout_seconds is None else self.timeout_seconds / 60

    @property
    def retry(self) -> Retry:
        """What a step without a word of its own does."""
        retries = self.max_retries if self.retry_attempts is None else self.retry_attempts
        return Retry() if retries is None else Retry(max_attempts=retries + 1)


def _without_built_ins(value: dict[str, V]) -> dict[str, V]:
    taken = value.keys() & (binding.BUILT_INS | binding.LATE) - binding.DECLARABLE
    if taken:
        raise ValueError(f"{min(taken)} is set by the system and cannot be declared")
    return value
