"""Every column named by SQL that code builds is a column: of costs, of checks, of views."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import partial
from typing import TypedDict

import pytest
from sqlglot import exp
from sqlglot.errors import OptimizeError

from convergence.model.cost import Calendar, CostQuery, Dimension, Group, Mark, Marking
from convergence.warehouse.schemas import View, central_views, views
from convergence.warehouse.sql import cost_queries, lineage_queries, quality_queries
from convergence.warehouse.sql.statement import parse
from convergence.warehouse.suites import load_suite
from tests.warehouse.test_named_columns import check

NOW = datetime(2025, 3, 2, tzinfo=UTC)
question = partial(CostQuery, date_from=date(2025, 2, 1), date_to=date(2025, 2, 28))


class Own(TypedDict):
    project: str
    dataset: str


OWN: Own = {"project": "", "dataset": ""}
GROUPS: tuple[Group, ...] = (*Dimension, *(Mark(each, "team") for each in Marking))
OF_A_CALENDAR = (Dimension.DAY, Dimension.WEEK, Dimension.MONTH, Dimension.CREDIT_TYPE)
VIEWS = {**views(), **central_views()}


def values_of(group: Group) -> tuple[str, ...]:
    return ("2025-02-03",) if group in {Dimension.DAY, Dimension.WEEK} else ("x", "")


def questions() -> Iterator[CostQuery]:
    """Each group alone and with a filter by the next one, in each calendar."""
    for calendar in Calendar:
        yield question(calendar=calendar, with_rates=True)
        groups = GROUPS if calendar is Calendar.USAGE_UTC else OF_A_CALENDAR
        for group, other in zip(groups, (*groups[1:], groups[0]), strict=True):
            filters = {other: values_of(other)}
            yield question(calendar=calendar, group_by=(group,), filters=filters)


def of_costs() -> Iterator[exp.Query]:
    for asked in questions():
        yield cost_queries.summary(asked)
        if asked.calendar is Calendar.INVOICE_MONTH:
            yield cost_queries.summary(asked, credit_types=("DISCOUNT",), from_rows=True)
        elif asked.is_divided_by_type:
            yield cost_queries.credit_types(asked)
        else:
            yield lineage_queries.by_load(asked, **OWN)
    yield cost_queries.lines(asked, **OWN)
    yield cost_queries.focus(asked, **OWN)
    yield cost_queries.newest_export_time(**OWN)


def of_checks() -> Iterator[exp.Query]:
    place = quality_queries.Place(
        **OWN, table="billing_cost_daily", day_column="ingestion_date", stamps=("x_source",)
    )
    rows = quality_queries.Rows(
        place=place, parameters={quality_queries.DAY: date(2025, 2, 1), "x_source": "a"}
    )
    suite = load_suite(place.table)
    asked = [quality_queries.samples(each, rows, names={}, now=NOW) for each in suite]
    asked += [quality_queries.measures(suite, rows, names={}, now=NOW)]
    asked += [quality_queries.totals(rows)]
    yield from (parse(question.in_full) for question in asked if question is not None)


def test_questions_about_costs_name_columns_that_exist() -> None:
    built = {query.sql("bigquery") for query in of_costs()}
    assert len(built) > 2 * len(GROUPS)
    for sql in built:
        check(sql)


def test_checks_name_columns_that_exist() -> None:
    built = {query.sql("bigquery") for query in of_checks()}
    assert len(built) > 10
    for sql in built:
        check(sql)


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_names_columns_that_exist_and_gives_those_that_it_says(name: str) -> None:
    view = VIEWS[name]
    check(view.query)
    assert given(view) == [column.name for column in view.columns]


def given(view: View) -> list[str]:
    return list(parse(view.query).named_selects)


def test_a_built_column_that_does_not_exist_is_found() -> None:
    query = cost_queries.newest_export_time(**OWN).sql("bigquery")
    with pytest.raises(OptimizeError):
        check(query.replace("x_source_export_time", "export_time"))
