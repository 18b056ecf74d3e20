"""What a step type is, and what it is handed. The engine builds the context; steps use it."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import date
from typing import Any, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from convergence.errors import CdpError
from convergence.model.cancel import CancelToken
from convergence.model.check import Check
from convergence.model.event import Level
from convergence.model.source import GrantedSource
from convergence.model.unit import Survey
from convergence.outside.notify import Mailer
from convergence.warehouse.question import Scope, Value
from convergence.warehouse.staged import StageRequest


class Settings(BaseModel):
    """The keys of a step type. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    needs_warehouse: ClassVar[bool] = True
    """Whether only a worker that reaches the tenants' tables can do the step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a step did: rows written, and facts as JSON values for the step log."""

    rows: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """`allow_shrink` accepts that a source holds less than what was published from it,
    `allow_overlap` that another has rows of its accounts and days.

    `keep_unchanged` leaves a day alone whose rows would be the same; `is_news` says that a day
    without rows so far was reported as empty: its first rows are a restatement. `checks` are made
    of the rows before they are published.
    """

    allow_shrink: bool = False
    allow_overlap: bool = False
    keep_unchanged: bool = False
    is_news: bool = False
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """Checks of rows that are there: of a table, of its `day` unless `day_column` is empty."""

    table: str
    day: date
    day_column: str
    checks: tuple[Check, ...]


Span = tuple[date, date]
"""The first day and the last."""


class SourceWatch(Protocol):
    """What a source holds beside what is known of it. For steps that load what has changed."""

    def survey(
        self,
        table: str,
        source: GrantedSource,
        *,
        allow_shrink: bool,
        afresh: Span | None = None,
    ) -> Survey:
        """The source at this moment; files that held days of `afresh` are read again, though they
        look the same.

        Raises StepFailed, and StepInterrupted for a file that changes while it is read.
        """
        ...

    def published_days(self, table: str, source: str, first: date, last: date) -> set[date]:
        """The days with published rows of the source."""
        ...

    def settle(self, survey: Survey, failed: Mapping[date, CdpError], left_out: Set[date]) -> None:
        """Remember what was surveyed, but for what touches the days that failed or were left out;
        and which failed.
        """
        ...


class StepLog(Protocol):
    """Writes a line of the run's log, with facts; its tenant reads it."""

    def __call__(self, message: str, level: Level = Level.INFO, **facts: object) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlace:
    """Whose step it is, of which day, and what it may read; `names` are the values of `{name}`."""

    tenant_id: str
    run_id: str
    run_date: date
    dataset: str
    scope: Scope
    names: Mapping[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepContext(StepPlace):
    """All that a step may touch.

    `log` tells the tenant what the step does, as in `log("file read", rows=5)`.
    `load` carries rows into the warehouse, exactly once and reconciled; `load_together` does so
    with days of one table in one act, and gives None for those that are to be loaded by themselves
    instead: then these tell what is wrong; `inspect` checks rows that are there; `watch` tells what
    of a source has changed; `admin_email` may always be written to, other addresses as the operator
    allows.
    """

    cancel: CancelToken
    log: StepLog
    load: Callable[[StageRequest, LoadOptions], Report]
    load_together: Callable[[Sequence[StageRequest], LoadOptions], Sequence[Report | None]]
    inspect: Callable[[Inspection], Report]
    watch: SourceWatch
    mailer: Mailer
    admin_email: str


class StepType(Protocol):
    """One kind of step. Its module's path below `steps/` is its `ps_type`."""

    settings: ClassVar[type[Settings]]
    unfilled: ClassVar[tuple[tuple[str, ...], ...]]
    """Paths of settings that are SQL: their `{name}`s are bound on the syntax tree, not as text."""

    def run(self, settings: Any, context: StepContext) -> Report:  # noqa: ANN401 - its own Settings
        """Do the work. Safe to repeat. Raises StepFailed, or StepInterrupted to be tried again."""
        ...


def needs_warehouse(snapshot: Mapping[str, Any], step_types: Mapping[str, StepType]) -> bool:
    """Whether some step of a template, as a run keeps it, works with the tenants' tables."""
    types = (step_types.get(step.get("ps_type")) for step in snapshot.get("steps", ()))
    return any(each is None or each.settings.needs_warehouse for each in types)


@runtime_checkable
class Loading(Protocol):
    """A step type that loads by one query, and can say beforehand by which."""

    def request(self, settings: Any, place: StepPlace) -> StageRequest:  # noqa: ANN401 - as above
        """What the step would load for the run's day. Reads nothing. Raises StepFailed, Invalid."""
        ...


def step_models(step_types: Mapping[str, StepType]) -> dict[str, type[Settings]]:
    """The model of each step type's own keys, for checking templates."""
    return {ps_type: step_type.settings for ps_type, step_type in step_types.items()}
