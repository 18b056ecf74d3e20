"""CREATE, ALTER, DROP: what changes the catalogue."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sqlglot import exp

from convergence.model.table import Column, Mode
from tests.bigquery_rest import wire
from tests.bigquery_rest.faults import ApiError, invalid
from tests.bigquery_rest.statements import Reader
from tests.bigquery_rest.tables import Table
from tests.bigquery_rest.wire import Json

_DDL = (exp.Create, exp.Alter, exp.Drop)
_OPTIONS = {"friendly_name": "friendlyName", "require_partition_filter": "requirePartitionFilter"}


def is_ddl(tree: exp.Expr) -> bool:
    return isinstance(tree, _DDL)


def run(reader: Reader, tree: exp.Expr) -> None:
    if isinstance(tree, exp.Create):
        _create(reader, tree)
    elif isinstance(tree, exp.Alter):
        _alter(reader, tree)
    elif isinstance(tree, exp.Drop):
        _drop(reader, tree)


def _create(reader: Reader, tree: exp.Create) -> None:
    catalog = reader.catalog
    target = tree.find(exp.Table)
    assert target is not None
    if tree.kind == "SCHEMA":
        _create_schema(reader, tree, target)
        return
    name = reader.name(target)
    if catalog.has_table(name) and tree.args.get("exists"):
        return
    if catalog.has_table(name) and tree.args.get("replace"):
        catalog.drop_table(name)
    query = tree.args.get("expression")
    body = _options(tree) | {"schema": wire.schema(_defined(tree))}
    if query is None:
        catalog.create_table(name, body)
        return
    if tree.kind == "VIEW":
        body["view"] = {"query": query.sql("bigquery"), "useLegacySql": False}
    prepared = reader.prepare(query)
    body["schema"] = wire.schema(prepared.columns)
    table = catalog.create_table(name, body)
    if tree.kind == "TABLE":
        columns = ", ".join(f'"{column.name}"' for column in prepared.columns)
        with catalog.changing(table):
            catalog.execute(f"INSERT INTO {name.duckdb} ({columns}) {prepared.sql}")


def _create_schema(reader: Reader, tree: exp.Create, target: exp.Table) -> None:
    path = [part.name for part in target.parts if part.name]
    project = path[0] if len(path) == 2 else reader.project
    body: Json = {"datasetReference": {"projectId": project, "datasetId": path[-1]}}
    location = tree.find(exp.LocationProperty)
    if location is not None:
        body["location"] = location.name
    try:
        reader.catalog.create_dataset(project, body)
    except ApiError:
        if not tree.args.get("exists"):
            raise


def _options(tree: exp.Create) -> Json:
    body: Json = {}
    for found in tree.args.get("properties") or ():
        if isinstance(found, exp.PartitionedByProperty):
            body["timePartitioning"] = _partitioning(found.this)
        elif isinstance(found, exp.ClusterProperty):
            body["clustering"] = {"fields": [column.name for column in found.expressions]}
    return _set_options(body, tree.args.get("properties") or ())


def _set_options(body: Json, properties: Iterable[Any]) -> Json:
    for found in properties:
        if type(found) is not exp.Property:
            continue
        if found.name == "partition_expiration_days":
            days = float(found.args["value"].name)
            body.setdefault("timePartitioning", {})["expirationMs"] = str(int(days * 86_400_000))
        elif isinstance(found.args["value"], exp.Literal):
            body[_OPTIONS.get(found.name, found.name)] = found.args["value"].name
    return body


def _partitioning(by: exp.Expr) -> Json:
    column = by.find(exp.Column)
    name = column.name if column is not None else by.name
    unit = by.find(exp.Var)
    said: Json = {"type": unit.name.upper() if unit is not None else "DAY"}
    return said if name.upper() in {"_PARTITIONDATE", "_PARTITIONTIME"} else said | {"field": name}


def _defined(tree: exp.Create) -> list[Column]:
    schema = tree.this
    return [_column(one) for one in schema.expressions] if isinstance(schema, exp.Schema) else []


def _column(definition: exp.ColumnDef) -> Column:
    kinds = {type(one.kind): one.kind for one in definition.args.get("constraints") or ()}
    default = kinds.get(exp.DefaultColumnConstraint)
    column = _typed(definition.name, definition.args["kind"])
    if exp.NotNullColumnConstraint in kinds:
        column = replace(column, mode=Mode.REQUIRED)
    options = kinds.get(exp.Properties)
    said = _set_options({}, options.expressions) if options is not None else {}
    return replace(
        column,
        default=default.this.sql("bigquery") if default is not None else None,
        description=said.get("description", ""),
    )


def _typed(name: str, kind: exp.DataType) -> Column:
    if kind.is_type(exp.DType.ARRAY):
        return replace(_typed(name, kind.expressions[0]), mode=Mode.REPEATED)
    if kind.is_type(exp.DType.STRUCT):
        members = tuple(_typed(one.name, one.args["kind"]) for one in kind.expressions)
        return Column(name=name, type="STRUCT", fields=members)
    return Column(name=name, type=kind.sql("bigquery").replace(" ", ""))


def _alter(reader: Reader, tree: exp.Alter) -> None:
    table = reader.catalog.table(reader.name(tree.this))
    for action in tree.args["actions"]:
        if isinstance(action, exp.ColumnDef):
            _add_column(reader, table, action)
        elif isinstance(action, exp.AlterColumn):
            _alter_column(reader, table, action)
        elif isinstance(action, exp.AlterSet):
            for found in action.find_all(exp.Properties):
                reader.catalog.patch_table(table, _set_options({}, found.expressions))
        else:
            raise invalid(f"ALTER TABLE with {action.key} is not known to the fake", "invalidQuery")


def _add_column(reader: Reader, table: Table, definition: exp.ColumnDef) -> None:
    column = _column(definition)
    if column.name in {known.name for known in table.columns}:
        if definition.args.get("exists"):
            return
        raise invalid(f"Column already exists: {column.name}", "invalidQuery")
    if column.default is not None:
        raise invalid(
            "Adding a column with a default value is not supported in ALTER TABLE ADD COLUMN",
            "invalidQuery",
        )
    reader.catalog.change_columns(table, (*table.columns, column))


def _alter_column(reader: Reader, table: Table, action: exp.AlterColumn) -> None:
    if action.args.get("dtype") is not None:
        raise invalid("SET DATA TYPE is not known to the fake", "invalidQuery")
    changed = []
    for column in table.columns:
        new = column
        if column.name == action.name:
            if action.args.get("default") is not None:
                new = replace(column, default=action.args["default"].sql("bigquery"))
            elif action.args.get("allow_null"):
                new = replace(column, mode=Mode.NULLABLE)
            elif action.args.get("drop"):
                new = replace(column, default=None)
        changed.append(new)
    reader.catalog.change_columns(table, tuple(changed))


def _drop(reader: Reader, tree: exp.Drop) -> None:
    for table in tree.args["tables"]:
        try:
            if tree.args["kind"] == "SCHEMA":
                path = [part.name for part in table.parts if part.name]
                project = path[0] if len(path) == 2 else reader.project
                with_contents = bool(tree.args.get("cascade"))
                reader.catalog.drop_dataset(project, path[-1], with_contents=with_contents)
            else:
                reader.catalog.drop_table(reader.name(table))
        except ApiError as error:
            if error.status != 404 or not tree.args.get("exists"):
                raise
