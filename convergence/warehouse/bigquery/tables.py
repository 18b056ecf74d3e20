"""Datasets and tables: made by calls, looked at, brought to their schema."""

from collections.abc import Sequence
from dataclasses import replace

from google.api_core import exceptions
from google.cloud import bigquery
from sqlglot import exp, parse_one

from convergence.errors import NotFound, WarehouseError
from convergence.model import drift
from convergence.model.table import Column, Mode, TableSchema
from convergence.warehouse.bigquery import reshape
from convergence.warehouse.bigquery.access import Clients
from convergence.warehouse.bigquery.faults import CALL_SECONDS, RETRY, told
from convergence.warehouse.bigquery.jobs import Jobs
from convergence.warehouse.bigquery.places import (
    EVENT_AT,
    EVENTS,
    full,
    place,
    stored_name,
    table_name,
)
from convergence.warehouse.bigquery.types import columns_of, field_of

DAY_MS = 24 * 3600 * 1000
LABELS = {"managed_by": "cdp"}
_EVENT_AT = Column(name=EVENT_AT, type="TIMESTAMP", mode=Mode.REQUIRED)


class Tables:
    """The tables of all datasets."""

    def __init__(self, clients: Clients, jobs: Jobs) -> None:
        self._clients = clients
        self._jobs = jobs

    def ensure_dataset(self, dataset: str) -> bool:
        client = self._clients.of(dataset)
        wanted = bigquery.Dataset(f"{self._clients.project}.{dataset}")
        wanted.location = self._clients.location
        wanted.labels = LABELS
        with told():
            try:
                client.create_dataset(wanted, retry=RETRY, timeout=CALL_SECONDS)
            except exceptions.Conflict:
                self.check_location(dataset)
                return False
        return True

    def check_location(self, dataset: str) -> None:
        """Raise WarehouseError for a dataset that is there, and elsewhere than it should be."""
        name = f"{self._clients.project}.{dataset}"
        with told():
            try:
                found = self._clients.of(dataset).get_dataset(
                    name, retry=RETRY, timeout=CALL_SECONDS
                )
            except exceptions.NotFound:
                return
        if found.location.lower() != self._clients.location.lower():
            raise WarehouseError(
                f"the dataset {dataset} is in {found.location}, not in {self._clients.location}",
                code="wrong_location",
                hint="CDP_BIGQUERY_LOCATION must say where the exports and all datasets are",
            )

    def drop_dataset(self, dataset: str) -> None:
        with told():
            self._clients.of(dataset).delete_dataset(
                f"{self._clients.project}.{dataset}",
                delete_contents=True,
                not_found_ok=True,
                retry=RETRY,
                timeout=CALL_SECONDS,
            )

    def ensure(self, dataset: str, schema: TableSchema) -> bool:
        """Make the table, and the view of its newest events where it has events. What is derived
        by a query is a view.
        """
        if schema.query:
            return self._create_view(dataset, schema, self._derived(dataset, schema))
        is_new = self._create(dataset, stored_name(dataset, schema), stored(schema))
        if schema.key:
            self._create_view(dataset, schema, self._newest(dataset, schema))
        return is_new

    def find(self, dataset: str, name: str) -> bigquery.Table | None:
        """A table as it is, None when there is none. Raises NotFound for the dataset."""
        client = self._clients.of(dataset)
        with told():
            try:
                return client.get_table(
                    full(self._clients.project, dataset, name), retry=RETRY, timeout=CALL_SECONDS
                )
            except exceptions.NotFound:
                client.get_dataset(
                    f"{self._clients.project}.{dataset}", retry=RETRY, timeout=CALL_SECONDS
                )
                return None

    def live(self, dataset: str, schema: TableSchema) -> TableSchema | None:
        """The table as it is. Columns come in the schema's order: here it means nothing."""
        table = self.find(dataset, stored_name(dataset, schema))
        if table is None:
            return None
        if schema.query:
            is_it = table.view_query == self._derived(dataset, schema)
            return schema if is_it else replace(schema, columns=())
        columns = [column for column in columns_of(table.schema) if column.name != EVENT_AT]
        order = {name: number for number, name in enumerate(schema.column_names)}
        columns.sort(key=lambda column: order.get(column.name, len(order)))
        partition = table.time_partitioning
        return replace(
            schema,
            columns=tuple(columns),
            partition_by=partition.field if partition is not None else None,
            expiration_days=_days(partition.expiration_ms) if partition is not None else None,
            cluster_by=tuple(table.clustering_fields or ()),
        )

    def columns(self, dataset: str, name: str) -> tuple[Column, ...]:
        """The live columns of a table as it is read. Raises NotFound."""
        found = self.find(dataset, table_name(dataset, name))
        if found is None:
            raise NotFound(f"There is no table {name} in {dataset}", code="table_not_found")
        if found.table_type == "VIEW":
            found = self.find(dataset, f"{EVENTS}{table_name(dataset, name)}") or found
        return tuple(column for column in columns_of(found.schema) if column.name != EVENT_AT)

    def evolve(
        self, dataset: str, schema: TableSchema, *, approved: bool, is_plan: bool
    ) -> Sequence[str]:
        live = self.live(dataset, schema)
        where = place(self._clients.project, dataset, stored_name(dataset, schema))
        if live is None or schema.query:
            if not is_plan:
                self.ensure(dataset, schema)
            return [reshape.created(where, stored(schema))]
        aimed = drift.aim(schema, live, approved=approved)
        found = reshape.statements(where, stored(live), stored(aimed))
        clusters = live.cluster_by != aimed.cluster_by
        if not is_plan:
            for statement in found:
                self._jobs.query(dataset, statement, is_bounded=False)
            if clusters:
                self._cluster(dataset, stored_name(dataset, schema), aimed.cluster_by)
            if schema.key and found:
                self._create_view(dataset, schema, self._newest(dataset, schema))
        names = ",".join(aimed.cluster_by)
        target = full(self._clients.project, dataset, stored_name(dataset, schema))
        return [*found, *([f"bq update --clustering_fields={names} {target}"] if clusters else [])]

    def widen(
        self, dataset: str, schema: TableSchema, live: Sequence[Column]
    ) -> tuple[Column, ...]:
        """Add the columns that a table lacks, behind those that it has; all of them."""
        known = {column.name for column in live}
        missing = [column for column in schema.columns if column.name not in known]
        columns = (*live, *missing)
        if not missing:
            return columns
        table = self._table(dataset, schema.name, replace(schema, columns=columns))
        with told():
            self._clients.of(dataset).update_table(
                table, ["schema"], retry=RETRY, timeout=CALL_SECONDS
            )
        return columns

    def remove(self, dataset: str, name: str) -> None:
        """Drop a table, if it is there."""
        target = full(self._clients.project, dataset, name)
        with told():
            self._clients.of(dataset).delete_table(
                target, not_found_ok=True, retry=RETRY, timeout=CALL_SECONDS
            )

    def names(self, dataset: str, prefix: str) -> list[str]:
        """The tables that begin with `prefix`; none where there is no dataset."""
        with told():
            try:
                listed = self._clients.of(dataset).list_tables(
                    f"{self._clients.project}.{dataset}", retry=RETRY, timeout=CALL_SECONDS
                )
                found = [str(item.table_id) for item in listed]
            except exceptions.NotFound:
                return []
        return [name for name in found if name.startswith(prefix)]

    def _create(self, dataset: str, name: str, schema: TableSchema) -> bool:
        table = self._table(dataset, name, schema)
        with told():
            try:
                self._clients.of(dataset).create_table(table, retry=RETRY, timeout=CALL_SECONDS)
            except exceptions.Conflict:
                return False
        return True

    def _table(self, dataset: str, name: str, schema: TableSchema) -> bigquery.Table:
        fields = [field_of(column) for column in schema.columns]
        table = bigquery.Table(full(self._clients.project, dataset, name), schema=fields)
        table.labels = LABELS
        table.description = schema.description or None
        if schema.partition_by is not None:
            days = schema.expiration_days
            table.time_partitioning = bigquery.TimePartitioning(
                field=schema.partition_by, expiration_ms=days * DAY_MS if days else None
            )
        if schema.cluster_by:
            table.clustering_fields = list(schema.cluster_by)
        return table

    def _cluster(self, dataset: str, name: str, cluster_by: Sequence[str]) -> None:
        table = bigquery.Table(full(self._clients.project, dataset, name))
        table.clustering_fields = list(cluster_by) or None
        with told():
            self._clients.of(dataset).update_table(
                table, ["clustering_fields"], retry=RETRY, timeout=CALL_SECONDS
            )

    def _newest(self, dataset: str, schema: TableSchema) -> str:
        events = place(self._clients.project, dataset, stored_name(dataset, schema))
        return newest(events, schema.key)

    def _derived(self, dataset: str, schema: TableSchema) -> str:
        tree = parse_one(schema.query, dialect="bigquery")
        for table in list(tree.find_all(exp.Table)):
            table.replace(place(self._clients.project, dataset, table.name))
        return tree.sql("bigquery")

    def _create_view(self, dataset: str, schema: TableSchema, query: str) -> bool:
        """Make the view, or make it anew where it is there. True if it was not."""
        name = table_name(dataset, schema.name)
        view = bigquery.Table(full(self._clients.project, dataset, name))
        view.view_query = query
        view.description = schema.description or None
        view.labels = LABELS
        client = self._clients.of(dataset)
        with told():
            try:
                client.create_table(view, retry=RETRY, timeout=CALL_SECONDS)
            except exceptions.Conflict:
                client.update_table(view, ["view_query"], retry=RETRY, timeout=CALL_SECONDS)
                return False
        return True


def _days(milliseconds: object) -> int | None:
    return int(str(milliseconds)) // DAY_MS if milliseconds else None


def stored(schema: TableSchema) -> TableSchema:
    """The shape of the table that has the rows."""
    return replace(schema, columns=(*schema.columns, _EVENT_AT)) if schema.key else schema


def newest(events: exp.Table, key: Sequence[str]) -> str:
    """The query that gives the newest event of each key."""
    window = exp.Window(
        this=exp.Anonymous(this="ROW_NUMBER"),
        partition_by=[exp.column(name, quoted=True) for name in key],
        order=exp.Order(
            expressions=[exp.Ordered(this=exp.column(EVENT_AT, quoted=True), desc=True)]
        ),
    )
    star = exp.Star(except_=[exp.to_identifier(EVENT_AT, quoted=True)])
    query = exp.select(star).from_(events).where(exp.true())
    query.set("qualify", exp.Qualify(this=window.eq(exp.Literal.number(1))))
    return query.sql("bigquery")
