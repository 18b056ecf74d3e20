"""Whether, and how, a server replaces one partition: tried on a table of its own and read back.

An emulator may accept a partition as a destination and write nothing; and not every way of
replacing leaves required columns required. What was found holds for the process.
"""

import threading
from collections.abc import Sequence
from datetime import date
from typing import Any
from uuid import uuid4

from google.cloud import bigquery
from sqlglot import exp, parse_one

from convergence.errors import Invalid, NotFound, WarehouseError
from convergence.model.table import Column, Mode, TableSchema
from convergence.warehouse.bigquery.access import Clients
from convergence.warehouse.bigquery.faults import CALL_SECONDS, RETRY, told
from convergence.warehouse.bigquery.jobs import Jobs
from convergence.warehouse.bigquery.places import STAGED, full, place
from convergence.warehouse.bigquery.tables import Tables

WAYS = ("WRITE_TRUNCATE_DATA", "WRITE_TRUNCATE")
"""The first leaves all that the table says of itself."""
REFUSED = frozenset({"sql_failed", "table_not_found", "warehouse_error"})
"""What a server says that knows no partitions; anything else is trouble of another kind."""
_DAY = date(2000, 1, 2)
_ROW = parse_one("SELECT DATE '2000-01-02' AS day, 1 AS number", dialect="bigquery")
_COLUMNS = (
    Column(name="day", type="DATE", mode=Mode.REQUIRED),
    Column(name="number", type="INT64", mode=Mode.REQUIRED),
)


class Partitions:
    """Finds the way once, at the first load."""

    def __init__(self, clients: Clients, jobs: Jobs, tables: Tables) -> None:
        self._clients = clients
        self._jobs = jobs
        self._tables = tables
        self._lock = threading.Lock()
        self._found: str | None = None

    def way(self, dataset: str) -> str:
        """The write disposition that replaces a partition; "" where none does."""
        with self._lock:
            if self._found is None:
                self._found = self._try(dataset)
            return self._found

    def config(
        self, dataset: str, name: str, day: date, schema: TableSchema, way: str
    ) -> dict[str, Any]:
        """How a query job writes one partition of a table that is there."""
        target = full(self._clients.project, dataset, f"{name}${day:%Y%m%d}")
        return {
            "destination": bigquery.TableReference.from_string(target),
            "write_disposition": way,
            "create_disposition": "CREATE_NEVER",
            "time_partitioning": bigquery.TimePartitioning(field=schema.partition_by),
            "clustering_fields": list(schema.cluster_by) or None,
        }

    def _try(self, dataset: str) -> str:
        name = f"{STAGED}probe_{uuid4().hex[:12]}"
        schema = TableSchema(
            name=name, columns=_COLUMNS, partition_by="day", cluster_by=("number",)
        )
        self._tables.ensure(dataset, schema)
        try:
            return next((way for way in WAYS if self._works(dataset, schema, way)), "")
        finally:
            self._tables.remove(dataset, name)

    def _works(self, dataset: str, schema: TableSchema, way: str) -> bool:
        config = self.config(dataset, schema.name, _DAY, schema, way)
        try:
            self._jobs.query(dataset, _ROW.sql("bigquery"), config=config, is_bounded=False)
        except (Invalid, NotFound, WarehouseError) as error:
            if error.code not in REFUSED:
                raise
            return False
        modes = [column.mode for column in self._tables.columns(dataset, schema.name)]
        return self._rows(dataset, schema.name) == [(1,)] and set(modes) == {Mode.REQUIRED}

    def _rows(self, dataset: str, name: str) -> Sequence[tuple[Any, ...]]:
        table = place(self._clients.project, dataset, name)
        job = self._jobs.query(dataset, exp.select("number").from_(table).sql("bigquery"))
        with told():
            return [row.values() for row in job.result(retry=RETRY, timeout=CALL_SECONDS)]
