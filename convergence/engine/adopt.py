"""The dataset `customers`, of the time when tenants were customers: its rows move to `tenants`.

For `migrate.py`. It goes through the warehouse's protocol alone. Rows that are there already stay
as they are, so a move that was cut off is done again; the old dataset goes when all have moved.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count, groupby
from operator import itemgetter
from typing import Any

from sqlglot import exp

from convergence.engine.ensure import ensure_central
from convergence.engine.service import Service
from convergence.errors import Conflict, NotFound
from convergence.model.retired import DATASET, no_place, present_name, retired_name
from convergence.model.table import Mode, TableSchema
from convergence.store import fleet, tenants, workers
from convergence.warehouse.base import Upsert
from convergence.warehouse.question import QueryLimits, Scope
from convergence.warehouse.schemas import central_schemas
from convergence.warehouse.sql.names import CENTRAL_DATASET

ROWS, SECONDS = 5_000, 300.0
Row = Mapping[str, Any]


def retired_tables(service: Service) -> dict[str, TableSchema]:
    """The old tables that are there, by name, each with the table that it became.

    None where a tenant has a dataset of that name.
    """
    with service.database.read() as tx:
        if DATASET in fleet.datasets(tx, service.config.warehouse):
            return {}
    found = {}
    for schema in central_schemas().values():
        old = replace(schema, name=retired_name(schema.name))
        try:
            if service.warehouse.live(DATASET, old) is not None:
                found[old.name] = schema
        except NotFound:
            return {}
    return found


def adopt(service: Service, old: str, schema: TableSchema) -> int:
    """Move the rows of one old table; how many were. Raises Conflict, and then moves none."""
    names = [column.name for column in service.warehouse.columns(DATASET, old)]
    _check(old, schema, {present_name(name) for name in names})
    ensure_central(service)
    key = schema.column_names[0]
    known = {row[key] for row in _rows(service, CENTRAL_DATASET, schema.name, [key])}
    order = (retired_name("tenant_id"), retired_name(key))
    rows = (row for row in _rows(service, DATASET, old, names, order) if row[key] not in known)
    return sum(
        _put(service, str(tenant_id), schema, list(own))
        for tenant_id, own in groupby(rows, key=itemgetter("tenant_id"))
    )


def drop_retired(service: Service) -> None:
    """Drop the old dataset. Raises Conflict while it has tables that have no place."""
    names = ("table_name", "table_type")
    found = _rows(service, DATASET, "INFORMATION_SCHEMA.TABLES", names, names)
    known = {retired_name(name) for name in central_schemas()}
    left = {str(row["table_name"]) for row in found if row["table_type"] != "VIEW"} - known
    if left:
        raise Conflict(
            f"the dataset {DATASET} has tables without a place: {', '.join(sorted(left))}",
            code="retired_table",
            hint="export them, drop them, and run cdp db migrate again",
        )
    service.warehouse.drop_dataset(DATASET)


def _put(service: Service, tenant_id: str, schema: TableSchema, rows: Sequence[Row]) -> int:
    """Where the tenant finds them, if it is still one, and then the operator: rows that are there
    are not moved again.
    """
    upsert = Upsert(schema=schema, key=(schema.column_names[0],), rows=rows)
    with service.database.read() as tx:
        seen_at = workers.moment(tx)
        try:
            datasets = [tenants.get(tx, tenant_id).dataset, CENTRAL_DATASET]
        except NotFound:
            datasets = [CENTRAL_DATASET]
    for dataset in datasets:
        service.warehouse.upsert_all(dataset, [upsert], seen_at=seen_at)
    return len(rows)


def _rows(
    service: Service, dataset: str, table: str, names: Sequence[str], order: Sequence[str] = ()
) -> Iterator[Row]:
    """All rows, a part at a time, under the present names of their columns."""
    scope = Scope(project=service.config.project, tenant_id=None, datasets=frozenset({dataset}))
    place = exp.to_table(f"{dataset}.{table}", dialect="bigquery")
    query = exp.select(*names).from_(place).order_by(*(order or names)).limit(ROWS)
    limits = QueryLimits(rows=ROWS, seconds=SECONDS)
    for start in count(0, ROWS):
        part = service.warehouse.query(scope, query.offset(start).sql("bigquery"), limits).rows
        for row in part:
            yield dict(zip(map(present_name, names), row, strict=True))
        if len(part) < ROWS:
            return


def _check(old: str, schema: TableSchema, given: set[str]) -> None:
    needed = {
        column.name
        for column in schema.columns
        if column.mode is Mode.REQUIRED and column.default is None
    }
    if wrong := sorted((given - set(schema.column_names)) | (needed - given)):
        raise no_place(old, schema.name, wrong)
