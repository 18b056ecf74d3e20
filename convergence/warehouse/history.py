"""What was done to the tables of a dataset: its `x_meta_schema_migrations`, on any warehouse."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlglot import exp

from convergence import __version__
from convergence.warehouse.base import Warehouse
from convergence.warehouse.question import QueryLimits, Scope
from convergence.warehouse.schemas import load_schema

HISTORY = "x_meta_schema_migrations"
MOST = 100_000


def checksums(warehouse: Warehouse, project: str, dataset: str) -> Mapping[str, str]:
    """Of each table, the checksum of the schema it was brought to last."""
    return {table: checksum for _, table, checksum in _rows(warehouse, project, dataset)}


def record(
    warehouse: Warehouse,
    project: str,
    dataset: str,
    done: Mapping[str, tuple[str, Sequence[str]]],
    *,
    now: datetime,
) -> None:
    """Record of tables, by name, the checksum of the schema they are at now ("" where something
    still differs), and the statements that led there.
    """
    known = _rows(warehouse, project, dataset)
    start = 1 + max((number for number, _, _ in known), default=0)
    rows = [
        {
            "number": number,
            "table_name": name,
            "checksum": checksum,
            "statements": list(statements),
            "program_version": __version__,
            "applied_at": now,
        }
        for number, (name, (checksum, statements)) in enumerate(done.items(), start)
    ]
    warehouse.upsert(dataset, load_schema(HISTORY), ("number",), rows)


def _rows(warehouse: Warehouse, project: str, dataset: str) -> list[tuple[int, str, str]]:
    """By number; none where the table is not there yet."""
    table = exp.table_(HISTORY, db=dataset, quoted=True)
    query = exp.select("number", "table_name", "checksum").from_(table).order_by("number")
    scope = Scope(project=project, tenant_id=None, datasets=frozenset({dataset}))
    if warehouse.live(dataset, load_schema(HISTORY)) is None:
        return []
    found = warehouse.query(scope, query.sql("bigquery"), QueryLimits(rows=MOST)).rows
    return [(int(number), str(name), str(checksum)) for number, name, checksum in found]
