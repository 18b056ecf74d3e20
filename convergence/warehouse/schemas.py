"""The shapes of all tables, said once in schemas/*.yml: the tenants', the central ones, exports.

A column is written `name: TYPE [REQUIRED] [REPEATED] [DEFAULT expression] [- description]`, a
record as a mapping of columns, a repeated record as a list of one mapping.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from convergence.errors import NotFound
from convergence.model.table import Column, Mode, TableSchema

_SAID = re.compile(
    r"(?P<type>[A-Z0-9]+(\(\d+,\d+\))?)(?P<mode> REQUIRED| REPEATED)?"
    r"( DEFAULT (?P<default>\S+))?( - (?P<description>.+))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSchema:
    """The canonical shape of an export; every file must hold the columns in `required`."""

    name: str
    columns: tuple[Column, ...]
    required: frozenset[str]


def load_schema(name: str) -> TableSchema:
    """The shape of a tenant's or a central table. Raises NotFound."""
    schema = all_schemas().get(name)
    if schema is None:
        raise NotFound(
            f"There is no schema named {name!r}",
            code="schema_not_found",
            hint="one of " + ", ".join(sorted(all_schemas())),
        )
    return schema


def all_schemas() -> Mapping[str, TableSchema]:
    """Every table by name, the tenants' first."""
    return {**tenant_schemas(), **central_schemas()}


@cache
def tenant_schemas() -> Mapping[str, TableSchema]:
    """The tables of each tenant's dataset."""
    return {name: _table(name, body) for name, body in _read("tenant").items()}


@cache
def central_schemas() -> Mapping[str, TableSchema]:
    """The tables of the dataset `tenants`."""
    return {name: _table(name, body) for name, body in _read("central").items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A question that each dataset answers by a name, as if it were a table."""

    columns: tuple[Column, ...]
    query: str


@cache
def views() -> Mapping[str, View]:
    """The views of each tenant's dataset; their queries are BigQuery SQL over its tables."""
    return {name: _view(body) for name, body in _read("view").items()}


@cache
def central_views() -> Mapping[str, View]:
    """The views of the dataset `tenants`, over its tables."""
    return {name: _view(body) for name, body in _read("central_view").items()}


@cache
def gcp_export() -> ExportSchema:
    """Standard and detailed GCP billing export in one."""
    body = _read("source")["gcp_export"]
    return ExportSchema(
        name="gcp_export", columns=_columns(body["columns"]), required=frozenset(body["required"])
    )


def whole_columns(paths: Iterable[str]) -> list[str]:
    """The paths in order, but for members of records that are named as a whole."""
    named = set(paths)
    return sorted(path for path in named if path.partition(".")[0] not in named - {path})


@cache
def totals_columns(schema: ExportSchema, *also: str) -> tuple[Column, ...]:
    """The columns that totals need, and of their records only the members that totals need."""
    members = {"invoice": {"month"}, "credits": {"amount"}}
    names = {"usage_start_time", "export_time", "cost", "cost_type", "currency", *members, *also}
    return tuple(
        replace(
            column,
            fields=tuple(f for f in column.fields if f.name in members.get(column.name, ())),
        )
        for column in schema.columns
        if column.name in names
    )


@cache
def billing_query() -> str:
    """BigQuery SQL from a day of an export to the columns of `billing_cost_daily`."""
    entry = files("convergence.warehouse") / "schemas" / "query" / "billing_cost_daily.sql"
    return entry.read_text("utf-8")


def _read(folder: str) -> dict[str, dict[str, Any]]:
    entries = (files("convergence.warehouse") / "schemas" / folder).iterdir()
    return {
        entry.name.removesuffix(".yml"): yaml.safe_load(entry.read_text("utf-8"))
        for entry in sorted(entries, key=lambda entry: entry.name)
        if entry.name.endswith(".yml")
    }


def _table(name: str, body: Mapping[str, Any]) -> TableSchema:
    return TableSchema(
        name=name,
        columns=_columns(body["columns"]),
        partition_by=body.get("partition_by"),
        expiration_days=body.get("expiration_days"),
        cluster_by=tuple(body.get("cluster_by", ())),
        key=tuple(body.get("key", ())),
        description=body["description"],
        is_billing=body.get("is_billing", False),
        query=body.get("query", ""),
    )


def _view(body: Mapping[str, Any]) -> View:
    return View(columns=_columns(body["columns"]), query=body["query"])


def _columns(said: Mapping[str, Any]) -> tuple[Column, ...]:
    return tuple(_column(name, what) for name, what in said.items())


def _column(name: str, said: str | Mapping[str, Any] | list[Mapping[str, Any]]) -> Column:
    if isinstance(said, list):
        return Column(name=name, type="STRUCT", mode=Mode.REPEATED, fields=_columns(said[0]))
    if isinstance(said, Mapping):
        return Column(name=name, type="STRUCT", fields=_columns(said))
    match = _SAID.fullmatch(said)
    if match is None:
        raise ValueError(f"column {name}: {said!r} is not TYPE [REQUIRED] [DEFAULT x] [- text]")
    return Column(
        name=name,
        type=match["type"],
        mode=Mode((match["mode"] or " NULLABLE").strip()),
        default=match["default"],
        description=match["description"] or "",
    )
