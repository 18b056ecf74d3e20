"""A template: the tenant-free description of a pipeline, as `provider/domain/name`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from convergence.errors import Invalid

SEGMENT = re.compile(r"[a-z0-9][a-z0-9_]{0,49}")


class StepTrigger(StrEnum):
    """When a step runs: ALWAYS with the others, the rest after them, by the run's outcome."""

    ALWAYS = "always"
    ON_SUCCESS = "on_success"
    ON_FAILURE = "on_failure"
    ON_COMPLETION = "on_completion"


class OnFailure(StrEnum):
    """What a failed step means: STOP the run, CONTINUE with it, ALERT: stop and notify."""

    STOP = "stop"
    CONTINUE = "continue"
    ALERT = "alert"


class SourceFamily(StrEnum):
    """Which kinds of source fit a variable that names one."""

    GCP = "gcp"
    FOCUS = "focus"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often a step is tried when it fails for a passing reason, and the first pause."""

    max_attempts: int = 1
    backoff_seconds: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A declared name. With `source`, no default means the tenant's only source of that family."""

    name: str
    default: str | None = None
    description: str = ""
    source: SourceFamily | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A node. `settings` are the step type's own keys, checked by its model."""

    step_id: str
    name: str
    ps_type: str
    description: str = ""
    trigger: StepTrigger = StepTrigger.ALWAYS
    depends_on: tuple[str, ...] | None = None
    """None: after the step written before it; empty: after nothing."""
    timeout_minutes: float = 10
    retry: Retry = Retry()
    on_failure: OnFailure = OnFailure.STOP
    variables: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """The author's notes; shown, never read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """`raw` is the parsed YAML: stored with each run and parsed again by the same rules.

    `digest` is the SHA-256 of its canonical JSON, hex.
    """

    ref: str
    pipeline_id: str
    description: str
    version: str
    steps: tuple[Step, ...]
    variables: Mapping[str, Variable]
    timeout_minutes: float
    raw: Mapping[str, Any]
    digest: str
    schedule: str | None = None
    """As written; shown. Schedules are made per tenant, not by a template."""
    notices: tuple[str, ...] = ()
    """What was accepted and does less than its author may think, or is out of date."""

    @property
    def provider(self) -> str:
        return self.ref.split("/")[0]

    @property
    def domain(self) -> str:
        return self.ref.split("/")[1]

    @property
    def name(self) -> str:
        return self.ref.split("/")[2]

    @property
    def source_variables(self) -> frozenset[str]:
        """The variables that name a source."""
        return frozenset(name for name, each in self.variables.items() if each.source)


def check_ref(text: str) -> str:
    """Give `provider/domain/name` back, or raise Invalid."""
    segments = text.split("/")
    if len(segments) != 3 or not all(SEGMENT.fullmatch(segment) for segment in segments):
        raise Invalid(
            f"{text[:80]!r} is not a template's name",
            code="invalid_template_name",
            hint="provider/domain/name, for example gcp/cost/cost_billing",
        )
    return text
