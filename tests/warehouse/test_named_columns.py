"""Every column that SQL of templates, views, schemas and questions names is one of its table."""

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
import yaml
from sqlglot import exp, parse_one
from sqlglot.errors import OptimizeError
from sqlglot.optimizer.annotate_types import annotate_types
from sqlglot.optimizer.qualify import qualify

from convergence.model.cost import Calendar, CostQuery, Dimension
from convergence.model.table import Column, Mode
from convergence.warehouse.schemas import (
    all_schemas,
    billing_query,
    central_views,
    gcp_export,
    views,
)
from convergence.warehouse.sql import cost_queries, lineage_queries

ROOT = Path(__file__).parents[2]
EXPORT = "export_of_gcp"
RETIRED = re.compile(r"\bcustomer_(id|profiles|usage_quotas|api_keys|subscriptions|\w*configs)\b")


def type_of(column: Column) -> str:
    """As BigQuery writes it, with the members of a record."""
    members = ", ".join(f"{each.name} {type_of(each)}" for each in column.fields)
    name = f"STRUCT<{members}>" if column.fields else column.type.partition("(")[0]
    return f"ARRAY<{name}>" if column.mode is Mode.REPEATED else name


SCHEMA: dict[str, object] = {
    EXPORT: {column.name: type_of(column) for column in gcp_export().columns},
    **{
        name: {column.name: type_of(column) for column in schema.columns}
        for name, schema in all_schemas().items()
    },
}


def statements() -> Iterator[tuple[str, str]]:
    """The SQL of templates, views and schemas, by where it stands."""
    yield "schemas/query/billing_cost_daily.sql", billing_query()
    for name, view in (*views().items(), *central_views().items()):
        yield f"view {name}", view.query
    for name, schema in all_schemas().items():
        if schema.query:
            yield f"derived table {name}", schema.query
    for path in sorted((ROOT / "configs").rglob("*.yml")):
        for step in yaml.safe_load(path.read_text()).get("steps", ()):
            query = (step.get("source") or {}).get("query") or step.get("query")
            if query:
                yield f"{path.relative_to(ROOT)}: {step['step_id']}", query


STATEMENTS = dict(statements())


def check(sql: str) -> None:
    """Raise OptimizeError or AssertionError for a column or a member that is not there."""
    filled = re.sub(r"`\{\w*source\w*\}`", EXPORT, sql)
    filled = re.sub(r"`?\{\w+\}\.(?:\w+\.)?(\w+)`?", r"\1", filled)
    filled = filled.replace("{date}", "2025-01-01")
    tree = qualify(
        parse_one(filled, dialect="bigquery"),
        schema=SCHEMA,
        dialect="bigquery",
        quote_identifiers=False,
    )
    annotate_types(tree, schema=SCHEMA, dialect="bigquery")
    for dot in tree.find_all(exp.Dot):
        of = dot.this.type
        if of is not None and of.is_type("struct"):
            members = {member.name for member in of.expressions}
            assert dot.name in members, f"{dot.sql('bigquery')}: {dot.name} is not in the record"


@pytest.mark.parametrize(
    ("place", "sql"), list(statements()), ids=[place for place, _ in statements()]
)
def test_every_column_that_sql_names_exists(place: str, sql: str) -> None:
    check(sql)


@pytest.mark.parametrize("calendar", Calendar)
@pytest.mark.parametrize("dimension", Dimension)
@pytest.mark.parametrize("from_rows", [True, False], ids=["rows", "sums"])
def test_every_column_that_a_question_about_costs_names_exists(
    dimension: Dimension, calendar: Calendar, *, from_rows: bool
) -> None:
    day = date(2025, 1, 1)
    question = CostQuery(date_from=day, date_to=day, group_by=(dimension,), calendar=calendar)
    check(cost_queries.summary(question, from_rows=from_rows).sql("bigquery"))


def test_every_column_that_lineage_names_exists() -> None:
    day = date(2025, 1, 1)
    question = CostQuery(date_from=day, date_to=day)
    for built in (
        lineage_queries.by_load(question, project="", dataset=""),
        lineage_queries.accounts("billing_cost_daily", [day], project="", dataset=""),
        cost_queries.newest_export_time(project="", dataset=""),
    ):
        check(built.sql("bigquery"))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT nope FROM `{source_billing_table}`",
        "SELECT service.nope FROM `{source_billing_table}`",
        "SELECT max_concurrent FROM tenant_usage_quotas",
    ],
)
def test_a_column_that_does_not_exist_is_found(sql: str) -> None:
    with pytest.raises((OptimizeError, AssertionError)):
        check(sql)


def test_no_retired_name_is_left() -> None:
    sources = [
        path
        for folder in ("convergence", "configs", "deploy")
        for suffix in ("py", "yml", "yaml", "sql", "html")
        for path in (ROOT / folder).rglob(f"*.{suffix}")
    ]
    assert len(sources) > 100
    assert [str(path) for path in sources if RETIRED.search(path.read_text())] == []
