"""Templates: what they are called, what they declare, what they do."""

from typing import Literal

from pydantic import ConfigDict, Field

from convergence.api.wire.shape import In, Json, Out
from convergence.model.template import OnFailure, SourceFamily, StepTrigger, Template


class TemplateText(In):
    model_config = ConfigDict(json_schema_extra={"examples": [{"yaml": "pipeline_id: …"}]})

    yaml: str


class Validated(Out):
    valid: Literal[True] = True


class VariableShown(Out):
    """A declared variable. `source` is the family of the export that it names."""

    name: str
    default: str | None
    description: str
    source: SourceFamily | None


class RetryShown(Out):
    max_attempts: int
    backoff_seconds: float


class StepShown(Out):
    """A step. `depends_on` null: after the step written before it; empty: after nothing."""

    step_id: str
    name: str
    ps_type: str
    description: str
    trigger: StepTrigger
    depends_on: list[str] | None
    timeout_minutes: float
    retry: RetryShown
    on_failure: OnFailure
    variables: dict[str, str]
    settings: Json


class TemplateOut(Out):
    template: str = Field(validation_alias="ref")
    provider: str
    domain: str
    template_name: str = Field(validation_alias="name")
    pipeline_id: str
    description: str
    version: str
    timeout_minutes: float
    digest: str


class TemplateShown(TemplateOut):
    """With its variables and steps; `yaml` is the text as its author wrote it."""

    variables: list[VariableShown] = Field(validation_alias="declared", default_factory=list)
    steps: list[StepShown]
    yaml: str = ""


def template_out(template: Template) -> TemplateOut:
    return TemplateOut.model_validate(template)


def template_shown(template: Template, text: str) -> TemplateShown:
    declared = [VariableShown.model_validate(item) for item in template.variables.values()]
    shown = TemplateShown.model_validate(template)
    return shown.model_copy(update={"variables": declared, "yaml": text})
