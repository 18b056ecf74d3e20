"""What the verbs work with: the parts of a running service, each made when it is first used."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from convergence.engine.answers import Answers
from convergence.model.run import Run
from convergence.model.tenant import WarehouseKind
from convergence.outside.clock import Clock
from convergence.outside.home import Home
from convergence.outside.notify import Mailer
from convergence.outside.secrets import Secrets
from convergence.steps.base import StepType
from convergence.store.database import Database, WriteTx
from convergence.warehouse.base import Warehouse

if TYPE_CHECKING:
    from convergence.library import Library
    from convergence.outside.metrics import Metrics
    from convergence.outside.vault import Vault


class Queue(Protocol):
    """Where an admitted run waits for a worker."""

    def enqueue(self, tx: WriteTx, run: Run) -> None:
        """Enqueue in the caller's transaction: the run and its place commit or vanish together."""
        ...

    def withdraw(self, run_id: str) -> None:
        """Take out a run that ended before a worker had it. Not inside a transaction."""
        ...

    def ended(self, before: datetime, *, limit: int) -> list[str]:
        """Runs that the queue took to their end before then, the oldest first."""
        ...

    def forget(self, run_ids: Sequence[str]) -> None:
        """Delete what the queue keeps of them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings that the verbs need, resolved."""

    home: Path
    database_url: str
    project: str
    warehouse: WarehouseKind
    environment: str
    dataset_prefix: str
    auth_disabled: bool
    worker_concurrency: int
    query_seconds: float
    rate_limit: int
    arriving_days: int
    closing_days: int
    keep_queue_days: int
    keep_events_days: int
    keep_runs_days: int
    may_claim_files: bool = True
    price_per_tib: Decimal = Decimal("6.25")
    """Dollars for the bytes that BigQuery reads; for estimates."""

    @property
    def is_warehouse_shared(self) -> bool:
        """Whether every process reaches the tenants' tables: then no home has them as files."""
        return self.warehouse is WarehouseKind.BIGQUERY


@dataclass(frozen=True, slots=True, kw_only=True)
class Makers:
    """How each costly part is made: a command that only lists runs never opens a warehouse."""

    database: Callable[[], Database]
    warehouse: Callable[[], Warehouse]
    step_types: Callable[[], Mapping[str, StepType]]
    library: "Callable[[], Library]"
    metrics: "Callable[[], Metrics]"
    queue: Callable[[Database], Queue]
    vault: "Callable[[], Vault]"


@dataclass(kw_only=True)
class Service:
    """The parts. Doors and verbs take what they need from here; nothing is global."""

    config: Config
    clock: Clock
    home: Home
    secrets: Secrets
    mailer: Mailer
    makers: Makers
    answers: Answers = field(default_factory=Answers)
    caught_up: set[str] = field(default_factory=set)
    """Datasets that this process has seen to be there: to look takes longer than to write a row."""

    @cached_property
    def database(self) -> Database:
        return self.makers.database()

    @cached_property
    def warehouse(self) -> Warehouse:
        return self.makers.warehouse()

    @cached_property
    def step_types(self) -> Mapping[str, StepType]:
        return self.makers.step_types()

    @cached_property
    def library(self) -> "Library":
        return self.makers.library()

    @cached_property
    def metrics(self) -> "Metrics":
        return self.makers.metrics()

    @cached_property
    def queue(self) -> Queue:
        return self.makers.queue(self.database)

    @cached_property
    def vault(self) -> "Vault":
        return self.makers.vault()

    def close(self) -> None:
        """Close what was opened."""
        for part in ("warehouse", "database"):
            if part in self.__dict__:
                self.__dict__.pop(part).close()
