"""Bring the warehouse's tables to the schema: additive, repeatable, tenant by tenant."""

from collections.abc import Iterator
from dataclasses import dataclass

from convergence.engine.service import Service
from convergence.errors import CdpError, NotFound
from convergence.model.table import TableSchema
from convergence.store import fleet
from convergence.warehouse.schemas import tenant_schemas


@dataclass(frozen=True, slots=True, kw_only=True)
class TableState:
    """One table beside its schema. `missing` columns; `error` when it cannot be read."""

    dataset: str
    table: str
    exists: bool
    missing: tuple[str, ...] = ()
    error: str = ""

    @property
    def is_current(self) -> bool:
        return self.exists and not self.missing and not self.error


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What was done to one table; `error` when it could not be done."""

    dataset: str
    table: str
    statements: tuple[str, ...]
    error: str = ""


def status(service: Service) -> list[TableState]:
    """Every table of every tenant beside its schema; nothing is changed."""
    return [_state(service, dataset, schema) for dataset, schema in _tables(service)]


def migrate(service: Service) -> list[Applied]:
    """Make and widen what is not current. A broken tenant does not stop the others."""
    return [
        _apply(service, state.dataset, tenant_schemas()[state.table])
        for state in status(service)
        if not state.is_current
    ]


def _tables(service: Service) -> Iterator[tuple[str, TableSchema]]:
    with service.database.read() as tx:
        datasets = sorted(fleet.datasets(tx))
    for dataset in datasets:
        for schema in tenant_schemas().values():
            yield dataset, schema


def _state(service: Service, dataset: str, schema: TableSchema) -> TableState:
    try:
        live = {column.name for column in service.warehouse.columns(dataset, schema.name)}
    except NotFound:
        return TableState(dataset=dataset, table=schema.name, exists=False)
    except CdpError as error:
        return TableState(dataset=dataset, table=schema.name, exists=True, error=error.detail)
    missing = tuple(name for name in schema.column_names if name not in live)
    return TableState(dataset=dataset, table=schema.name, exists=True, missing=missing)


def _apply(service: Service, dataset: str, schema: TableSchema) -> Applied:
    try:
        service.warehouse.ensure_dataset(dataset)
        made = service.warehouse.ensure_table(dataset, schema)
        statements = tuple(service.warehouse.evolve(dataset, schema))
    except CdpError as error:
        return Applied(dataset=dataset, table=schema.name, statements=(), error=error.detail)
    done = (f"CREATE TABLE {schema.name}",) if made else ()
    return Applied(dataset=dataset, table=schema.name, statements=done + statements)
