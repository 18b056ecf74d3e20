"""Datasets and tables are there: made where they are not, then filled anew with copies."""

from collections.abc import Iterable

from convergence.engine.service import Service
from convergence.errors import NotFound
from convergence.model.table import TableSchema
from convergence.store import fleet, moves
from convergence.store.database import ReadTx
from convergence.warehouse.schemas import central_schemas, tenant_schemas
from convergence.warehouse.sql.names import CENTRAL_DATASET


def catch_up(service: Service, dataset: str) -> None:
    """Make the dataset of a tenant that was onboarded where the files are not; else nothing: one
    that is gone is not made anew behind anybody's back.
    """
    is_made_elsewhere = not service.database.is_sqlite and not service.config.is_warehouse_shared
    if not is_made_elsewhere or dataset in service.caught_up:
        return
    if service.warehouse.ensure_dataset(dataset):
        ensure_tables(service, dataset)
    service.caught_up.add(dataset)


def ensure_tables(service: Service, dataset: str) -> tuple[str, ...]:
    """Make the tables that a tenant's dataset lacks; their names."""
    schemas = tenant_schemas().values()
    return tuple(
        schema.name for schema in schemas if service.warehouse.ensure_table(dataset, schema)
    )


def ensure_central(service: Service) -> bool:
    """Make what the operator's dataset lacks, or itself; whether something was made now."""
    return make_again(service, CENTRAL_DATASET, central_schemas().values())


def catch_up_central(service: Service) -> None:
    """The same; what this process has seen to be there is not looked at again."""
    if CENTRAL_DATASET not in service.caught_up:
        ensure_central(service)
        service.caught_up.add(CENTRAL_DATASET)


def is_central_there(service: Service) -> bool:
    return not all(
        _is_missing(service, CENTRAL_DATASET, schema) for schema in central_schemas().values()
    )


def make_again(service: Service, dataset: str, copies: Iterable[TableSchema]) -> bool:
    """Make those tables of copies that are missing; whether there were some. What was published is
    due again before: a crash between loses none. Raises NotFound for a tenant's dataset.
    """
    missing = [schema for schema in copies if _is_missing(service, dataset, schema)]
    if not missing:
        return False
    with service.database.write() as tx:
        for tenant_id in _published_to(service, tx, dataset):
            moves.publish_rest(tx, tenant_id)
    if dataset == CENTRAL_DATASET:
        service.warehouse.ensure_dataset(dataset)
    for schema in missing:
        service.warehouse.ensure_table(dataset, schema)
    return True


def _is_missing(service: Service, dataset: str, schema: TableSchema) -> bool:
    try:
        return service.warehouse.live(dataset, schema) is None
    except NotFound:
        if dataset != CENTRAL_DATASET:
            raise
        return True


def publish_anew(service: Service, dataset: str) -> None:
    """What was published to a dataset shall be again; to the operator's: of all tenants."""
    with service.database.write() as tx:
        for tenant_id in _published_to(service, tx, dataset):
            moves.publish_anew(tx, tenant_id)


def _published_to(service: Service, tx: ReadTx, dataset: str) -> list[str]:
    if dataset == CENTRAL_DATASET:
        return sorted(fleet.tenants_in(tx, service.config.warehouse))
    tenant = fleet.tenant_of_dataset(tx, dataset)
    return [tenant.tenant_id] if tenant else []
