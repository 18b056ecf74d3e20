"""Whether tables are as loads and questions need them; `migrate.py` brings them there."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from convergence.engine.ensure import catch_up
from convergence.engine.service import Service
from convergence.errors import NotFound, StepFailed
from convergence.model.drift import Drift, Verdict, compare
from convergence.model.table import TableSchema
from convergence.model.tenant import Tenant
from convergence.store import loads
from convergence.warehouse.schemas import load_schema


class State(StrEnum):
    CURRENT = "current"
    DRIFTED = "drifted"
    """It differs in what may be mended without a question."""
    BLOCKED = "schema_blocked"
    """It differs in what needs approval, or cannot be mended."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableState:
    """One table beside its schema; `statements` are those that were run, or would be."""

    place: str
    table: str
    drifts: tuple[Drift, ...] = ()
    statements: tuple[str, ...] = ()
    is_gone: bool = False
    """The whole dataset is not there."""
    was_absent: bool = False
    """The table was not there before."""
    error: str = ""
    hint: str = ""

    @property
    def state(self) -> State:
        if self.error:
            return State.FAILED
        if any(drift.verdict is not Verdict.ADDITIVE for drift in self.drifts):
            return State.BLOCKED
        return State.DRIFTED if self.drifts else State.CURRENT


def check_tables(service: Service, tenant: Tenant, schema: TableSchema | None) -> None:
    """Raise StepFailed when a load could not write its table, or its record; absent, they are
    made, unless they were there: then rows are lost, and somebody should know.
    """
    dataset = tenant.dataset
    catch_up(service, dataset)
    for wanted in filter(None, (schema, load_schema("x_meta_loads"))):
        try:
            live = service.warehouse.live(dataset, wanted)
        except NotFound as gone:
            raise _gone(f"the dataset {dataset} is gone: {gone.detail}") from gone
        if live is None:
            with service.database.read() as tx:
                is_lost = loads.last_day(tx, tenant.tenant_id, wanted.name) is not None
            if is_lost:
                raise _gone(f"the table {dataset}.{wanted.name} is gone, and rows were in it")
        found = compare(wanted, live) if live is not None else ()
        first = next((drift for drift in found if not drift.is_harmless), None)
        if first is not None:
            raise StepFailed(
                f"{dataset}.{wanted.name} is not at its schema: {first.kind} {first.column}",
                code="schema_blocked",
                hint="cdp db check tells all that differs; cdp db migrate mends it",
            )


def _gone(what: str) -> StepFailed:
    return StepFailed(
        what,
        code="tables_gone",
        hint="restore it (BigQuery undeletes for seven days; a backup), or make it anew, empty, "
        "with cdp db migrate: the next cost_sync then loads what the source still has",
    )


def first_kept(service: Service, dataset: str, schema: TableSchema) -> date:
    """The first day whose rows a table keeps, as the table itself says."""
    live = service.warehouse.live(dataset, schema)
    first = live.first_kept(service.clock.now()) if live is not None else None
    return first or date.min
