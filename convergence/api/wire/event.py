"""What happened in a run: a change of status, or a line of its log."""

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from convergence.api.wire.shape import Json, Out
from convergence.model.event import Event, EventKind, Level, at_least
from convergence.model.run import Status

MAX_SEQUENCE = 2**63 - 1


class EventOut(Out):
    """An event. `sequence` counts a run's events from 1; `step_id` null is the run itself."""

    sequence: int
    at: AwareDatetime
    pipeline_logging_id: str = Field(validation_alias="run_id")
    kind: EventKind
    level: Level
    step_id: str | None
    status: Status | None
    message: str
    facts: Json


class LogQuery(BaseModel):
    """Which events to list; what is absent does not narrow."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: Level | None = Field(default=None, description="Those that matter as much, or more")
    after: Annotated[int, Field(ge=0, le=MAX_SEQUENCE)] = 0
    limit: Annotated[int, Field(ge=1, le=1000)] = 200

    @property
    def levels(self) -> frozenset[Level]:
        """Empty: all of them."""
        return at_least(self.level) if self.level else frozenset()


def event_out(event: Event) -> EventOut:
    return EventOut.model_validate(event)
