"""An event: one change of a run's or a step's status, or one line of a run's log."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from convergence.model.run import Run, Status, StepRun


class EventKind(StrEnum):
    """What an event tells: a status, or a line that a step or the engine wrote."""

    STATE = "state"
    LOG = "log"


class Level(StrEnum):
    """How much an event matters, in rising order."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


_LEVELS = {Status.FAILED: Level.ERROR, Status.CANCELLED: Level.WARNING}
_RUN_WORDS = {
    Status.PENDING: "run accepted",
    Status.RUNNING: "run started",
    Status.COMPLETED: "run completed",
    Status.FAILED: "run failed",
    Status.CANCELLED: "run cancelled",
}
_STEP_WORDS = {
    Status.PENDING: "waits",
    Status.RUNNING: "started",
    Status.COMPLETED: "completed",
    Status.FAILED: "failed",
    Status.CANCELLED: "cancelled",
    Status.SKIPPED: "skipped",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What happened in a run, at `at` (UTC). `step_id` None is the run itself.

    `sequence` counts the run's events from 1, without holes; `position` is where to look for news
    among the events of all runs. The store gives both when it writes the event.
    """

    run_id: str
    tenant_id: str
    at: datetime
    kind: EventKind
    level: Level
    message: str
    step_id: str | None = None
    status: Status | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    """JSON values only."""
    sequence: int = 0
    position: int = 0

    @property
    def ends_run(self) -> bool:
        """Nothing comes after it."""
        ends = (Status.COMPLETED, Status.FAILED, Status.CANCELLED)
        return self.step_id is None and self.status in ends


def at_least(level: Level) -> frozenset[Level]:
    """The levels that matter as much, or more."""
    levels = tuple(Level)
    return frozenset(levels[levels.index(level) :])


def of_run(run: Run, *, at: datetime) -> Event:
    """That the run has now the status it has."""
    words = _RUN_WORDS[run.status]
    if run.status is Status.RUNNING and run.attempt > 1:
        words = f"run taken over, attempt {run.attempt}"
    return Event(
        run_id=run.run_id,
        tenant_id=run.tenant_id,
        at=at,
        kind=EventKind.STATE,
        level=_LEVELS.get(run.status, Level.INFO),
        message=f"{words}: {run.error}" if run.error else words,
        status=run.status,
        facts=_known(
            attempt=run.attempt or None,
            worker=run.worker,
            duration_ms=run.duration_ms,
            error_code=run.error_code,
        ),
    )


def of_step(step: StepRun) -> Event:
    """That the step has now the status it has, since it began or ended."""
    at = step.ended_at or step.started_at
    if at is None:
        raise ValueError(f"nobody knows since when {step.step_id} is {step.status}")
    words = f"{step.step_id} {_STEP_WORDS[step.status]}"
    if step.rows is not None:
        words = f"{words}, {rows_in_words(step.rows)}"
    return Event(
        run_id=step.run_id,
        tenant_id=step.tenant_id,
        at=at,
        kind=EventKind.STATE,
        level=_LEVELS.get(step.status, Level.INFO),
        message=f"{words}: {step.error}" if step.error else words,
        step_id=step.step_id,
        status=step.status,
        facts=_known(
            attempt=step.attempt,
            rows=step.rows,
            duration_ms=step.duration_ms,
            error_code=step.error_code,
        ),
    )


def rows_in_words(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def warning_of(run: Run, message: str, *, at: datetime) -> Event:
    """What befell a run whose status stays as it is."""
    return Event(
        run_id=run.run_id,
        tenant_id=run.tenant_id,
        at=at,
        kind=EventKind.LOG,
        level=Level.WARNING,
        message=message,
    )


def _known(**facts: str | int | None) -> dict[str, str | int]:
    return {name: value for name, value in facts.items() if value is not None}
