"""Where things lie in a dataset: tables as they are read, and those behind them.

A tenant's dataset holds, beside its own tables, its rows of the central ones. What is published
from the store is appended as events; the table of that name is a view of the newest of each key.
"""

from sqlglot import exp, parse_one

from convergence.model.table import TableSchema
from convergence.warehouse.schemas import central_schemas
from convergence.warehouse.sql.names import CENTRAL_DATASET

CENTRAL = "x_tenants_"
EVENTS = "x_events_"
STAGED = "x_staged_"
HIDDEN = f"^({CENTRAL}|{EVENTS}|{STAGED})"
_LATER = parse_one("TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 24 HOUR)", dialect="bigquery")
EVENT_AT = "x_event_at"
"""When the row of an event was seen in the store: the newest of a key is what holds."""


def table_name(dataset: str, name: str) -> str:
    """The name under which a table is read: central ones have another in a tenant's dataset."""
    is_copy = name in central_schemas() and dataset != CENTRAL_DATASET
    return f"{CENTRAL}{name}" if is_copy else name


def stored_name(dataset: str, schema: TableSchema) -> str:
    """The name of the table that has the rows."""
    name = table_name(dataset, schema.name)
    return f"{EVENTS}{name}" if schema.key else name


def place(project: str, dataset: str, name: str) -> exp.Table:
    return exp.table_(name, db=dataset, catalog=project, quoted=True)


def full(project: str, dataset: str, name: str) -> str:
    return f"{project}.{dataset}.{name}"


def passing(table: exp.Table, rows: exp.Query) -> str:
    """Makes a table of the rows, which BigQuery drops after a day, whatever became of its load."""
    option = exp.Property(this=exp.var("expiration_timestamp"), value=_LATER.copy())
    create = exp.Create(
        this=table.copy(),
        kind="TABLE",
        properties=exp.Properties(expressions=[option]),
        expression=rows,
    )
    return create.sql("bigquery")
