"""Rows go into a table as a job says: whole, appended, or into one partition of it."""

import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from convergence.model.table import Column, Mode
from convergence.warehouse.files.types import described, duck_type
from tests.bigquery_rest import wire
from tests.bigquery_rest.catalog import Catalog, check_type, mismatch
from tests.bigquery_rest.faults import ApiError, invalid, not_found
from tests.bigquery_rest.statements import bad_query
from tests.bigquery_rest.tables import Name, Table
from tests.bigquery_rest.wire import Json

TRUNCATES = frozenset({"WRITE_TRUNCATE", "WRITE_TRUNCATE_DATA"})


@dataclass(frozen=True, kw_only=True)
class Target:
    """A table, or one partition of it."""

    name: Name
    partition: str

    @classmethod
    def of(cls, reference: Json) -> "Target":
        table, _, partition = reference["tableId"].partition("$")
        name = Name(reference["projectId"], reference["datasetId"], table)
        return cls(name=name, partition=partition)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows in a table of their own. `is_query`: their modes say nothing, all are NULLABLE."""

    name: str
    columns: tuple[Column, ...]
    is_query: bool = False


def write(catalog: Catalog, target: Target, rows: Rows, settings: Json, *, default: str) -> None:
    """Raises ApiError, and then nothing has changed."""
    disposition = settings.get("writeDisposition") or default
    table = _made(catalog, target, rows, settings)
    if target.partition and table.partitioning is None:
        raise invalid(f"Table {table.name} is not partitioned: it takes no partition decorator")
    where = f" WHERE {table.partition_id} = '{target.partition}'" if target.partition else ""
    if disposition == "WRITE_EMPTY" and catalog.count(f"{table.name.duckdb}{where}"):
        raise ApiError(409, "duplicate", f"Already Exists: Table {table.name}")
    if disposition == "WRITE_TRUNCATE" and not target.partition:
        table = _reshaped(catalog, table, rows)
    _fit(catalog, table, rows, settings, keeps_schema=disposition != "WRITE_TRUNCATE")
    _check_partition(catalog, table, rows, target)
    try:
        with catalog.changing(table, *filter(None, [target.partition])):
            if disposition in TRUNCATES:
                catalog.execute(f"DELETE FROM {table.name.duckdb}{where}")  # noqa: S608 - the same
            _insert(catalog, table, rows, target)
    except duckdb.ConstraintException as error:
        raise invalid(f"Required field is NULL: {str(error).splitlines()[0]}") from None
    except duckdb.Error as error:
        raise bad_query(error) from None


def _made(catalog: Catalog, target: Target, rows: Rows, settings: Json) -> Table:
    if not catalog.has_table(target.name):
        if settings.get("createDisposition") == "CREATE_NEVER":
            raise not_found(f"Table {target.name}")
        body = {key: settings[key] for key in ("timePartitioning", "clustering") if key in settings}
        return catalog.create_table(target.name, body | {"schema": wire.schema(rows.columns)})
    table = catalog.table(target.name)
    wanted = settings.get("timePartitioning")
    if wanted and wanted.get("field") != (table.partitioning or {}).get("field"):
        raise invalid("Incompatible table partitioning specification.")
    return table


def _reshaped(catalog: Catalog, table: Table, rows: Rows) -> Table:
    """WRITE_TRUNCATE of a whole table gives it the shape of what is written."""
    if [(c.name, c.type, c.mode) for c in table.columns] == [
        (c.name, c.type, c.mode) for c in rows.columns
    ]:
        return table
    catalog.drop_table(table.name)
    return catalog.create_table(table.name, table.body | {"schema": wire.schema(rows.columns)})


def _fit(catalog: Catalog, table: Table, rows: Rows, settings: Json, *, keeps_schema: bool) -> None:
    """Let columns come and be relaxed where the job allows it, and refuse all other differences."""
    allowed = settings.get("schemaUpdateOptions") or ()
    given = {column.name: column for column in rows.columns}
    wanted = []
    for column in table.columns:
        new = given.pop(column.name, None)
        if new is None:
            _check_left_out(table, column, keeps_schema=keeps_schema)
            wanted.append(column)
            continue
        check_type(table, column, new)
        is_looser = column.mode is Mode.REQUIRED and new.mode is Mode.NULLABLE
        is_relaxed = is_looser and "ALLOW_FIELD_RELAXATION" in allowed
        if is_looser and not is_relaxed and not (rows.is_query and keeps_schema):
            changed = f"Field {column.name} has changed mode from REQUIRED to NULLABLE"
            raise mismatch(table, changed)
        wanted.append(new if is_relaxed else column)
    if given and "ALLOW_FIELD_ADDITION" not in allowed:
        raise mismatch(table, f"Cannot add fields (field: {next(iter(given))})")
    wanted += [replace(column, mode=Mode.NULLABLE) for column in given.values()]
    if tuple(wanted) != table.columns:
        catalog.change_columns(table, tuple(wanted))


def _check_left_out(table: Table, column: Column, *, keeps_schema: bool) -> None:
    if column.mode is Mode.REQUIRED or not keeps_schema:
        raise mismatch(table, f"Field {column.name} is missing in new schema")


def _check_partition(catalog: Catalog, table: Table, rows: Rows, target: Target) -> None:
    if not target.partition or table.has_pseudo_columns:
        return
    if catalog.count(f"{rows.name} WHERE {table.partition_id} <> '{target.partition}'"):
        raise invalid(
            "Some rows belong to different partitions rather than destination partition"
            f" {table.name}${target.partition}"
        )


def _insert(catalog: Catalog, table: Table, rows: Rows, target: Target) -> None:
    names = [f'"{column.name}"' for column in rows.columns]
    values = list(names)
    if table.has_pseudo_columns:
        names.append('"_PARTITIONTIME"')
        day = f"strptime('{target.partition}', '%Y%m%d')" if target.partition else "now()"
        values.append(f"date_trunc('day', {day})::TIMESTAMPTZ")
    columns, wanted = ", ".join(names), ", ".join(values)
    catalog.execute(f"INSERT INTO {table.name.duckdb} ({columns}) SELECT {wanted} FROM {rows.name}")  # noqa: S608 - the same


def of_file(catalog: Catalog, content: bytes, settings: Json) -> Rows:
    """What was uploaded, in the shape that the job, or else the table or the file, says."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(content)
        form = settings.get("sourceFormat", "CSV")
        if form == "NEWLINE_DELIMITED_JSON":
            return _of_json(catalog, file.name, _said(catalog, settings))
        if form != "PARQUET":
            raise invalid(f"{form} is not known to the fake")
        return _of_parquet(catalog, file.name, settings)


def _said(catalog: Catalog, settings: Json) -> tuple[Column, ...]:
    if settings.get("schema"):
        return tuple(map(wire.column, settings["schema"]["fields"]))
    target = Target.of(settings["destinationTable"])
    return catalog.table(target.name).columns if catalog.has_table(target.name) else ()


def _of_json(catalog: Catalog, path: str, columns: tuple[Column, ...]) -> Rows:
    if not columns:
        raise invalid("the fake reads JSON by a schema alone")
    shape = ", ".join(f"'{column.name}': '{duck_type(column)}'" for column in columns)
    name = catalog.new_name()
    options = f"format = 'newline_delimited', columns = {{{shape}}}"
    catalog.execute(f"CREATE TABLE {name} AS FROM read_json('{path}', {options})")
    return Rows(name=name, columns=columns)


def _of_parquet(catalog: Catalog, path: str, settings: Json) -> Rows:
    try:
        catalog.execute(f"FROM read_parquet('{path}') LIMIT 0")
    except duckdb.Error as error:
        raise invalid(f"Error while reading data: {str(error).splitlines()[0]}") from None
    types = described(catalog.connection)
    found = {name: wire.column_of(name, type_) for name, type_ in types.items()}
    infers = (settings.get("parquetOptions") or {}).get("enableListInference")
    lists = [name for name, column in found.items() if column.mode is Mode.REPEATED]
    if lists and not infers:
        raise invalid(f"Field {lists[0]} is a LIST, read as a RECORD without list inference")
    columns = _said(catalog, settings) or tuple(found.values())
    by_name = {column.name for column in columns}
    for name, column in found.items():
        if name not in by_name:
            raise invalid(f"Provided Schema does not match: no such field: {name}")
        _check_readable(column, next(one for one in columns if one.name == name))
    kept = [column for column in columns if column.name in found]
    wanted = ", ".join(map(_read, kept))
    name = catalog.new_name()
    catalog.execute(f"CREATE TABLE {name} AS SELECT {wanted} FROM read_parquet('{path}')")  # noqa: S608 - the same
    for one in kept:
        if one.mode is Mode.REPEATED and catalog.count(f"{name} WHERE {_has_null(one.name)}"):
            raise invalid(
                f"Only optional fields can be set to NULL. Field: {one.name}; Value: NULL"
            )
    return Rows(name=name, columns=tuple(kept))


def _read(column: Column) -> str:
    """A column of a file: no list is an empty one."""
    value = f'CAST("{column.name}" AS {duck_type(column)})'
    if column.mode is Mode.REPEATED:
        value = f"coalesce({value}, [])"
    return f'{value} AS "{column.name}"'


def _has_null(column: str) -> str:
    """A list with a NULL in it: BigQuery keeps none."""
    return f'len("{column}") <> len(list_filter("{column}", LAMBDA e : e IS NOT NULL))'


_ALIKE = ({"TIMESTAMP", "DATETIME"}, {"STRING", "JSON"}, {"NUMERIC", "BIGNUMERIC"})


def _check_readable(found: Column, wanted: Column) -> None:
    """BigQuery reads no float into a NUMERIC, and no text into a number."""
    kinds = {column.type.partition("(")[0] for column in (found, wanted)}
    if len(kinds) > 1 and not any(kinds <= alike for alike in _ALIKE):
        raise invalid(f"Parquet column '{found.name}' is {found.type}, not {wanted.type}")
    members = {member.name: member for member in wanted.fields}
    for member in found.fields:
        if member.name in members:
            _check_readable(member, members[member.name])


def of_tables(catalog: Catalog, sources: Sequence[Target]) -> Rows:
    """The rows of tables or of partitions of them, for a copy."""
    tables = [catalog.table(source.name) for source in sources]
    columns = tables[0].columns
    names = ", ".join(f'"{column.name}"' for column in columns)
    parts = [
        f"SELECT {names} FROM {table.name.duckdb}"  # noqa: S608 - the same
        + (f" WHERE {table.partition_id} = '{source.partition}'" if source.partition else "")
        for table, source in zip(tables, sources, strict=True)
    ]
    name = catalog.new_name()
    catalog.execute(f"CREATE TABLE {name} AS {' UNION ALL '.join(parts)}")
    return Rows(name=name, columns=columns)


def page(
    catalog: Catalog, rows: str, columns: Sequence[str], start: int, size: int
) -> list[tuple[object, ...]]:
    names = ", ".join(f'"{name}"' for name in columns)
    found = catalog.execute(f"SELECT {names} FROM {rows} LIMIT {size} OFFSET {start}")  # noqa: S608 - the same
    return list(itertools.chain(found.fetchall()))
