"""What is written of a step: when it starts, and how it ended. For `walk`, `execute`, `recover`."""

from dataclasses import replace
from datetime import datetime

from convergence.errors import Cancelled, CdpError, StepFailed
from convergence.model.run import Run, Status, StepRun
from convergence.model.template import Step, Template
from convergence.steps.base import Report

MAX_ERROR = 4000
"""Characters of an error that are kept."""


def started(run: Run, step: Step, *, template: Template, now: datetime) -> StepRun:
    return StepRun(
        run_id=run.run_id,
        tenant_id=run.tenant_id,
        step_id=step.step_id,
        name=step.name,
        ps_type=step.ps_type,
        index=template.steps.index(step),
        status=Status.RUNNING,
        attempt=run.attempt,
        started_at=now,
    )


def skipped(record: StepRun) -> StepRun:
    """It never ran."""
    return replace(record, status=Status.SKIPPED, ended_at=record.started_at)


def handed_over(record: StepRun, *, attempt: int, now: datetime) -> StepRun:
    """Broken off in good order: from now on it waits for the run's next worker."""
    return replace(record, status=Status.PENDING, attempt=attempt, started_at=now)


def completed(record: StepRun, report: Report, *, now: datetime) -> StepRun:
    return replace(
        record, status=Status.COMPLETED, ended_at=now, rows=report.rows, report=report.facts
    )


def failed(record: StepRun, error: Exception, *, now: datetime) -> StepRun:
    """FAILED, or CANCELLED by a caller, with the reason and what to do."""
    if not isinstance(error, CdpError):
        error = StepFailed(f"{type(error).__name__}: {error}", code="internal_error")
    is_cancelled = error.code == Cancelled.default_code
    text = f"{error.detail} (try: {error.hint})" if error.hint else error.detail
    return replace(
        record,
        status=Status.CANCELLED if is_cancelled else Status.FAILED,
        ended_at=now,
        error_code=error.code,
        error=text if len(text) <= MAX_ERROR else f"{text[: MAX_ERROR - 1]}…",
    )
