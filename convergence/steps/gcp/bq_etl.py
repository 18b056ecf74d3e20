"""`gcp.bq_etl`: select from a granted export and load the rows into a table of the tenant."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from sqlglot import exp
from typing_extensions import override

from convergence.errors import Invalid, StepFailed
from convergence.model.load import NO_SOURCE, LoadKey
from convergence.model.table import Column, TableSchema
from convergence.steps.base import (
    LoadOptions,
    Report,
    Settings,
    StepContext,
    StepPlace,
)
from convergence.steps.checked import CheckedSettings
from convergence.warehouse.question import Value
from convergence.warehouse.requested import STAMPS
from convergence.warehouse.schemas import central_schemas, load_schema, tenant_schemas, views
from convergence.warehouse.sql import fill, names
from convergence.warehouse.sql.statement import VARIABLE_MARK, parse
from convergence.warehouse.staged import StageRequest, WriteMode

SCHEMA_TEMPLATES = {"billing_cost": "billing_cost_daily"}
Identifier = Annotated[str, Field(min_length=1, max_length=300)]


def _named_parameters(value: object) -> object:
    """The source documents' list of {name, value}, as a mapping."""
    if isinstance(value, list):
        return {item["name"]: item["value"] for item in value if isinstance(item, dict)}
    return value


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Part):
    query: str = Field(min_length=1)
    bq_project_id: str | None = None
    query_params: Annotated[dict[str, str | int | bool], BeforeValidator(_named_parameters)] = {}


class TimePartitioning(_Part):
    field: Identifier = "ingestion_date"
    type: Literal["DAY"] = "DAY"
    expiration_days: int | None = Field(default=None, ge=1)


class TableConfig(_Part):
    time_partitioning: TimePartitioning = TimePartitioning()
    clustering_fields: tuple[str, ...] = ()


class Destination(_Part):
    """`overwrite` and `truncate` of a billing table replace the day of the source, never more."""

    table: Identifier
    dataset_type: str | None = None
    bq_project_id: str | None = None
    write_mode: WriteMode | Literal["truncate"] = WriteMode.REPLACE_PARTITION
    schema_template: Literal["billing_cost"] | None = None
    table_config: TableConfig = TableConfig()
    partition_by: str | None = None
    cluster_by: tuple[str, ...] = ()
    merge_keys: tuple[str, ...] = ()
    recreate: bool = False

    @model_validator(mode="after")
    def _mode_fits(self) -> Self:
        if self.is_billing and self.write_mode in {WriteMode.APPEND, WriteMode.MERGE}:
            raise ValueError(
                f"write_mode {self.write_mode} would double cost in a billing table; "
                "use replace_partition, which replaces the day of this source and only that"
            )
        if not self.is_billing and is_of_service(self.table):
            raise ValueError(f"{self.table} is written by the service itself; name another table")
        if self.recreate:
            raise ValueError("recreate would drop every other day; a load replaces its own")
        if self.write_mode is WriteMode.MERGE and not self.merge_keys:
            raise ValueError("write_mode merge needs merge_keys, for example [id]")
        return self

    @property
    def is_billing(self) -> bool:
        """Whether the table is the bill, be it by its name alone: then every load is proven."""
        return self.schema_template is not None or self.table in SCHEMA_TEMPLATES.values()

    @property
    def mode(self) -> WriteMode:
        if self.is_billing:
            return WriteMode.REPLACE_PARTITION
        return WriteMode.OVERWRITE if self.write_mode == "truncate" else WriteMode(self.write_mode)

    @property
    def partition(self) -> str:
        return self.partition_by or self.table_config.time_partitioning.field


class BqEtlSettings(CheckedSettings):
    source: Source
    destination: Destination
    limit: int | None = Field(default=None, ge=1)
    allow_shrink: bool = False
    allow_overlap: bool = False

    @override
    def checked_schema(self) -> TableSchema | None:
        return said_schema(self.destination)

    @override
    def known_columns(self) -> TableSchema | None:
        """Of a table that takes the shape of its query: what this names, and the stamps."""
        given = _named_by(self.source.query)
        adds = self.destination.mode in {WriteMode.APPEND, WriteMode.MERGE}
        if self.destination.is_billing or adds or not given:
            return self.checked_schema()
        names = dict.fromkeys((*given, *STAMPS, self.destination.partition))
        columns = tuple(Column(name=name, type="STRING") for name in names)
        return TableSchema(name=self.destination.table, columns=columns)


class BqEtl:
    settings: ClassVar[type[Settings]] = BqEtlSettings
    unfilled: ClassVar[tuple[tuple[str, ...], ...]] = (("source", "query"), ("quality",))

    def run(self, settings: BqEtlSettings, context: StepContext) -> Report:
        """Load one day. For a billing table the totals must equal the source's."""
        options = LoadOptions(
            allow_shrink=settings.allow_shrink,
            allow_overlap=settings.allow_overlap,
            checks=settings.suite,
        )
        return context.load(self.request(settings, context), options)

    def request(self, settings: BqEtlSettings, place: StepPlace) -> StageRequest:
        schema = schema_of(settings.destination)
        _check_project(settings.destination, place)
        return StageRequest(
            dataset=place.dataset,
            table=settings.destination.table,
            schema=schema,
            scope=place.scope,
            key=LoadKey(
                table=settings.destination.table,
                day=place.run_date,
                source=_source_table(settings, place, schema),
            ),
            sql=settings.source.query,
            names=place.names,
            parameters=_parameters(settings.source),
            mode=settings.destination.mode,
            partition_by=settings.destination.partition,
            merge_keys=settings.destination.merge_keys,
            limit=settings.limit,
        )


def is_of_service(table: str) -> bool:
    """Whether the service keeps a table or a view of that name in every dataset."""
    name = table.lower()
    return name.startswith("x_") or name in {*tenant_schemas(), *central_schemas(), *views()}


def _named_by(query: str) -> Sequence[str]:
    """The columns of a query that gives each a name; nothing for another."""
    try:
        tree = parse(query)
    except Invalid:
        return ()  # what is wrong with it is told where it is looked at
    given = tree.named_selects
    is_said = all(isinstance(each, exp.Alias | exp.Column) for each in tree.selects)
    is_filled = any(name.startswith(VARIABLE_MARK) or "{" in name for name in given)
    return given if is_said and not (is_filled or tree.is_star) else ()


def said_schema(destination: Destination) -> TableSchema | None:
    """The shape that the destination names, if it names one."""
    if not destination.is_billing:
        return None
    return load_schema(SCHEMA_TEMPLATES[destination.schema_template or "billing_cost"])


def schema_of(destination: Destination) -> TableSchema | None:
    """The said shape of the destination, if it has one. Raises StepFailed for another table's."""
    schema = said_schema(destination)
    if schema is None or destination.table == schema.name:
        return schema
    raise StepFailed(
        f"schema_template {destination.schema_template} belongs to the table {schema.name}, "
        f"not to {destination.table}",
        code="schema_mismatch",
        hint=f"destination.table: {schema.name}",
    )


def _check_project(destination: Destination, place: StepPlace) -> None:
    project = destination.bq_project_id
    if project not in {None, place.scope.project}:
        raise StepFailed(
            f"destination.bq_project_id is {project}; this service has {place.scope.project}",
            code="foreign_project",
            hint="leave bq_project_id out, or set GCP_PROJECT_ID",
        )


def _parameters(source: Source) -> dict[str, Value]:
    return dict(source.query_params)


def _source_table(settings: BqEtlSettings, place: StepPlace, schema: TableSchema | None) -> str:
    tree = fill.fill(settings.source.query, place.names, _parameters(settings.source))
    return one_source(names.resolve(tree, place.scope), schema)


def one_source(resolved: names.Resolved, schema: TableSchema | None) -> str:
    """The one export that a query reads: with the day, the unit of replacement."""
    tables = sorted({ref.source.table for ref in resolved.refs if ref.source})
    if len(tables) == 1:
        return tables[0]
    if schema is not None and schema.is_billing:
        raise StepFailed(
            f"a load of {schema.name} reads one export; this query reads {tables or 'none'}",
            code="one_source_needed",
            hint="one step for each export: each owns its rows of a day",
        )
    return ",".join(tables) or NO_SOURCE
