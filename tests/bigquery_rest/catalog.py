"""Datasets and tables of all projects, their rows in one DuckDB in memory, one act at a time."""

import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import duckdb

from convergence.model.table import Column, Mode
from tests.bigquery_rest import wire
from tests.bigquery_rest.faults import ApiError, invalid, not_found
from tests.bigquery_rest.tables import Name, Table, default_of, duckdb_columns, now_ms
from tests.bigquery_rest.wire import Json

KEPT_VERSIONS = 8
_FIXED = ("tableReference", "schema", "kind", "id", "etag", "type", "location", "selfLink")


def _json_of_google(said: str) -> str:
    """In a record a NUMERIC is a text without zeros at its end, and a whole one is a number."""
    for zeros in range(9):
        digits = rf":(-?[0-9]+\.[0-9]{{{8 - zeros}}}[1-9])0{{{zeros}}}([,}}])"
        said = f"regexp_replace({said}, '{digits}', ':\"\\1\"\\2', 'g')"
    return f"regexp_replace({said}, ':(-?[0-9]+)\\.0{{9}}([,}}])', ':\\1\\2', 'g')"


_SETTINGS = (
    "SET GLOBAL TimeZone='UTC'",
    "SET GLOBAL ieee_floating_point_ops=false",
    "SET threads=1",
    "SET memory_limit='512MB'",
    "CREATE MACRO farm_fingerprint(x) AS CAST(hash(x) % 1099511627776 AS BIGINT)",
    f"CREATE MACRO to_json(x) AS {_json_of_google('CAST(system.main.to_json(x) AS VARCHAR)')}",
)
"""A fingerprint has 40 bits here, so that sums of many fit where a BIGNUMERIC holds 20 digits."""


@dataclass(kw_only=True)
class Dataset:
    project: str
    name: str
    body: Json
    tables: dict[str, Table] = field(default_factory=dict)
    modified: int = field(default_factory=now_ms)

    @property
    def location(self) -> str:
        return str(self.body.get("location") or "US")

    @property
    def resource(self) -> Json:
        return {
            **self.body,
            "kind": "bigquery#dataset",
            "id": f"{self.project}:{self.name}",
            "etag": str(self.modified),
            "datasetReference": {"projectId": self.project, "datasetId": self.name},
            "location": self.location,
            "creationTime": str(self.modified),
            "lastModifiedTime": str(self.modified),
        }


class Catalog:
    """Everything that is kept but the jobs. Callers hold `lock` around what belongs together."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.connection = duckdb.connect(config={"async_threads": 1})
        for setting in _SETTINGS:
            self.execute(setting)
        self.execute("CREATE SCHEMA kept")
        self._datasets: dict[tuple[str, str], Dataset] = {}
        self._numbers = itertools.count()
        self._is_within = False
        self.now: datetime | None = None
        """The time by which partitions expire; without it none does."""

    def clear(self) -> None:
        with self.lock:
            self.now = None
            for project, name in list(self._datasets):
                self.drop_dataset(project, name, with_contents=True)
            self.execute("DROP SCHEMA kept CASCADE")
            self.execute("CREATE SCHEMA kept")

    def execute(self, sql: str, values: tuple[Any, ...] = ()) -> duckdb.DuckDBPyConnection:
        return self.connection.execute(sql, values)

    def value(self, sql: str) -> Any:  # noqa: ANN401 - of whatever type
        row = self.execute(sql).fetchone()
        return row[0] if row else None

    def count(self, rows: str) -> int:
        return int(self.value(f"SELECT COUNT(*) FROM {rows}"))  # noqa: S608 - a name of ours

    def new_name(self) -> str:
        """A table outside all datasets."""
        return f'kept."t{next(self._numbers)}"'

    def keep(self, columns: Sequence[Column], rows: Iterable[tuple[Any, ...]]) -> str:
        """A table outside all datasets with these rows; its name."""
        name, marks = self.new_name(), ", ".join("?" * len(columns))
        self.execute(f"CREATE TABLE {name} ({duckdb_columns(columns, has_pseudo=False)})")
        for row in rows:
            self.execute(f"INSERT INTO {name} VALUES ({marks})", row)  # noqa: S608 - a name of ours
        return name

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; one within another is part of it."""
        if self._is_within:
            yield
            return
        self._is_within = True
        self.execute("BEGIN")
        try:
            yield
        except BaseException:
            self.execute("ROLLBACK")
            raise
        else:
            self.execute("COMMIT")
        finally:
            self._is_within = False

    # Datasets

    def datasets(self, project: str) -> list[Dataset]:
        return [found for (owner, _), found in sorted(self._datasets.items()) if owner == project]

    def dataset(self, project: str, name: str) -> Dataset:
        found = self._datasets.get((project, name))
        if found is None:
            raise not_found(f"Dataset {project}:{name}")
        return found

    def create_dataset(self, project: str, body: Json) -> Dataset:
        name = body["datasetReference"]["datasetId"]
        if (project, name) in self._datasets:
            raise ApiError(409, "duplicate", f"Already Exists: Dataset {project}:{name}")
        self.execute(f'CREATE SCHEMA "{project}.{name}"')
        made = Dataset(project=project, name=name, body=body)
        self._datasets[project, name] = made
        return made

    def drop_dataset(self, project: str, name: str, *, with_contents: bool) -> None:
        if self.dataset(project, name).tables and not with_contents:
            raise ApiError(400, "resourceInUse", f"Dataset {project}:{name} is still in use")
        self.execute(f'DROP SCHEMA "{project}.{name}" CASCADE')
        del self._datasets[project, name]

    # Tables

    def table(self, name: Name) -> Table:
        found = self.dataset(name.project, name.dataset).tables.get(name.table)
        if found is None:
            raise not_found(f"Table {name}")
        self._expire(found)
        return found

    def flush(self) -> None:
        """Let streamed rows come out of their buffers."""
        for dataset in self._datasets.values():
            for table in dataset.tables.values():
                table.is_streamed = False

    def _expire(self, table: Table) -> None:
        """A partition goes when the time that it stands for is as long ago as it is kept."""
        partitioning = table.partitioning or {}
        if self.now is None or not partitioning.get("expirationMs"):
            return
        kept = timedelta(milliseconds=int(partitioning["expirationMs"]))
        column = partitioning.get("field") or "_PARTITIONTIME"
        begins = f"date_trunc('day', \"{column}\")"
        self.execute(f"DELETE FROM {table.name.duckdb} WHERE {begins} <= ?", (self.now - kept,))  # noqa: S608 - ours

    def has_table(self, name: Name) -> bool:
        return name.table in self.dataset(name.project, name.dataset).tables

    def create_table(self, name: Name, body: Json) -> Table:
        dataset = self.dataset(name.project, name.dataset)
        if name.table in dataset.tables:
            raise ApiError(409, "duplicate", f"Already Exists: Table {name}")
        columns = tuple(map(wire.column, (body.get("schema") or {}).get("fields", ())))
        kept = {key: value for key, value in body.items() if key not in _FIXED}
        table = Table(name=name, columns=columns, body=kept)
        by = (table.partitioning or {}).get("field")
        if by and by not in {column.name for column in columns}:
            raise invalid(f"The field specified for partitioning cannot be found: {by}")
        if table.view_query is None:
            shape = duckdb_columns(columns, has_pseudo=table.has_pseudo_columns)
            self.execute(f"CREATE TABLE {name.duckdb} ({shape or 'nothing INT'})")
        dataset.tables[name.table] = table
        return table

    def drop_table(self, name: Name) -> None:
        table = self.table(name)
        if table.view_query is None:
            self.execute(f"DROP TABLE {name.duckdb}")
        for _, version in table.versions:
            self.execute(f"DROP TABLE {version}")
        del self.dataset(name.project, name.dataset).tables[name.table]

    def resource(self, table: Table) -> Json:
        rows = 0 if table.view_query else self.count(table.name.duckdb)
        location = self.dataset(table.name.project, table.name.dataset).location
        return table.resource(location=location, rows=rows)

    def patch_table(self, table: Table, body: Json) -> None:
        if (said := body.get("schema")) is not None:
            self.change_columns(table, tuple(map(wire.column, said["fields"])))
        for key in body.keys() - set(_FIXED):
            table.body[key] = body[key]
        table.body = {key: value for key, value in table.body.items() if value is not None}
        table.modified = now_ms()

    def change_columns(self, table: Table, wanted: tuple[Column, ...]) -> None:
        """Columns may come at the end, NULLABLE, and be relaxed; nothing else changes."""
        new = {column.name: column for column in wanted}
        for old in table.columns:
            if old.name not in new:
                raise mismatch(table, f"Field {old.name} is missing in new schema")
            self._check_kept(table, old, new.pop(old.name))
        for column in new.values():
            if column.mode is Mode.REQUIRED:
                raise mismatch(table, f"Cannot add required fields (field: {column.name})")
            shape = duckdb_columns([column], has_pseudo=False)
            self.execute(f"ALTER TABLE {table.name.duckdb} ADD COLUMN {shape}")
        table.columns = wanted

    def _check_kept(self, table: Table, old: Column, new: Column) -> None:
        check_type(table, old, new)
        if new.mode is Mode.REQUIRED and old.mode is Mode.NULLABLE:
            raise mismatch(table, f"Field {old.name} has changed mode from NULLABLE to REQUIRED")
        alter = f'ALTER TABLE {table.name.duckdb} ALTER COLUMN "{old.name}"'
        if old.mode is Mode.REQUIRED and new.mode is Mode.NULLABLE:
            self.execute(f"{alter} DROP NOT NULL")
        if old.default != new.default:
            self.execute(f"{alter} {f'SET{default_of(new)}' if new.default else 'DROP DEFAULT'}")

    # What a table was

    @contextmanager
    def changing(self, table: Table, *touched: str) -> Iterator[None]:
        """Around a write: all or nothing; what the table was is kept, and which partitions are new.

        `touched` partitions count as written, even with the rows they had.
        """
        kept, before = self.new_name(), self._fingerprints(table)
        with self.transaction():
            self.execute(f"CREATE TABLE {kept} AS FROM {table.name.duckdb}")
            yield
        moment = now_ms()
        table.versions.append((moment * 1000, kept))
        for _, old in table.versions[:-KEPT_VERSIONS]:
            self.execute(f"DROP TABLE {old}")
        table.versions = table.versions[-KEPT_VERSIONS:]
        table.modified = moment
        after = self._fingerprints(table)
        new = {name for name, print_ in after.items() if before.get(name) != print_}
        table.partition_times |= dict.fromkeys([*new, *touched], moment)

    def _fingerprints(self, table: Table) -> dict[str, tuple[int, int]]:
        if table.partitioning is None:
            return {}
        prints = f"SELECT {table.partition_id}, COUNT(*), CAST(SUM(hash(t)) AS HUGEINT)"
        rows = self.execute(f"{prints} FROM {table.name.duckdb} AS t GROUP BY 1")
        return {name: (count, total) for name, count, total in rows.fetchall()}

    def as_of(self, table: Table, micros: int) -> str:
        """DuckDB's name of what the table was at a moment."""
        if micros < table.created * 1000:
            raise invalid(f"Invalid snapshot time {micros // 1000} for table {table.name}")
        if micros > (now_ms() + 1000) * 1000:
            raise invalid(f"Cannot read table {table.name} at a time in the future")
        return next((name for until, name in table.versions if micros < until), table.name.duckdb)

    def partitions(self, table: Table) -> list[tuple[str, int, int]]:
        """Id, rows and time of the last change (milliseconds) of each that has rows."""
        counts = self._fingerprints(table)
        return [
            (name, count, table.partition_times.get(name, table.modified))
            for name, (count, _) in sorted(counts.items())
        ]


def check_type(table: Table, old: Column, new: Column) -> None:
    if (old.type, old.mode is Mode.REPEATED) != (new.type, new.mode is Mode.REPEATED):
        change = f"Field {old.name} has changed type from {old.type} to {new.type}"
        raise mismatch(table, change)


def mismatch(table: Table, what: str) -> ApiError:
    return invalid(f"Provided Schema does not match Table {table.name}. {what}")
