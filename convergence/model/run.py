"""A run: one execution of a pipeline for one tenant and date, and the steps it is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """The state of a run or a step. SKIPPED is for steps alone."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    SKIPPED = "SKIPPED"


LIVE = frozenset({Status.PENDING, Status.RUNNING})
ENDED = frozenset(Status) - LIVE

MOVES: Mapping[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.RUNNING, Status.FAILED, Status.CANCELLED}),
    Status.RUNNING: frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED}),
}


class Trigger(StrEnum):
    """What asked for a run."""

    API = "api"
    CLI = "cli"
    WEB = "web"
    SCHEDULE = "schedule"
    BACKFILL = "backfill"
    RETRY = "retry"


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRequest:
    """What a caller asks: a template for a tenant and a date. `run_date` None is yesterday, UTC."""

    tenant_id: str
    template: str
    """provider/domain/name"""
    run_date: date | None = None
    trigger: Trigger = Trigger.API
    trigger_by: str = "api_user"
    variables: Mapping[str, str] = field(default_factory=dict)
    allow_shrink: bool = False
    """Accept that a source holds less than what was published from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRequest:
    """Do again what a run that is over did not finish; all of it when `is_whole`.

    `trigger_by` None is whoever asked for that run.
    """

    tenant_id: str
    run_id: str
    is_whole: bool = False
    trigger_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution. Times are UTC; `snapshot` is the parsed template it was admitted with.

    `attempt` grows with each claim; every write of a run carries it, so that a worker that lost
    its run can change nothing. `parameters` are the bound variables, request over tenant over
    template.
    """

    run_id: str
    tenant_id: str
    template: str
    pipeline_id: str
    run_date: date
    status: Status
    trigger: Trigger
    trigger_by: str
    parameters: Mapping[str, str]
    parameter_hash: str
    snapshot: Mapping[str, Any]
    template_hash: str
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    attempt: int = 0
    worker: str | None = None
    error_code: str | None = None
    error: str | None = None
    cancel_requested: bool = False
    is_sample: bool = False
    allow_shrink: bool = False
    retry_of: str | None = None
    """The run that this one does again."""

    @property
    def is_live(self) -> bool:
        return self.status in LIVE

    @property
    def duration_ms(self) -> int | None:
        """Milliseconds from the first claim to the end; None while it is not over."""
        if self.started_at is None or self.ended_at is None:
            return None
        return round((self.ended_at - self.started_at).total_seconds() * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs to list; what is empty or None does not narrow. Both dates of `run_date` count."""

    statuses: frozenset[Status] = frozenset()
    pipeline_id: str | None = None
    date_from: date | None = None
    date_to: date | None = None
    since: datetime | None = None
    """Admitted at this moment or later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRun:
    """One step of one run. `index` counts from 0 in the order of the template."""

    run_id: str
    tenant_id: str
    step_id: str
    name: str
    ps_type: str
    index: int
    status: Status
    attempt: int
    started_at: datetime | None = None
    ended_at: datetime | None = None
    rows: int | None = None
    error_code: str | None = None
    error: str | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    """What the step tells of itself: totals, SQL, warnings; JSON values only."""

    @property
    def duration_ms(self) -> int | None:
        if self.started_at is None or self.ended_at is None:
            return None
        return round((self.ended_at - self.started_at).total_seconds() * 1000)
