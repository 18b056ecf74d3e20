"""The questions that checks are: one text for all days, so that it is translated once."""

from datetime import UTC, date, datetime

import pytest

from convergence.errors import Invalid
from convergence.model.check import Check
from convergence.warehouse.question import Parameters, Scope
from convergence.warehouse.sql import names
from convergence.warehouse.sql.quality_queries import DAY, Place, Question, Rows, measures
from convergence.warehouse.suites import load_suite

PLACE = Place(
    project="local",
    dataset="acme",
    table="billing_cost_daily",
    day_column="ingestion_date",
    stamps=("x_source",),
)


def asked(day: date, *checks: Check, **variables: str) -> Question:
    rows = Rows(place=PLACE, parameters={DAY: day, "x_source": "a.b.c"})
    now = datetime(day.year, 12, 31, tzinfo=UTC)
    suite = checks or load_suite("billing_cost_daily")
    return measures(suite, rows, names=variables, now=now)


def test_the_suite_of_the_bill_is_one_text_for_all_days() -> None:
    one, other = asked(date(2024, 1, 1)), asked(date(2025, 2, 2))
    assert one.sql == other.sql
    assert one.parameters != other.parameters
    assert "2024" not in one.sql
    assert "DATE '2025-02-02'" in other.in_full or "CAST('2025-02-02' AS DATE)" in other.in_full


def test_a_variable_in_a_condition_makes_a_text_of_its_own() -> None:
    check = Check.model_validate({"check": "custom_sql", "expression": "project_id = '{project}'"})
    one, other = (asked(date(2024, 1, 1), check, project=name) for name in ("one", "@two"))
    assert "'one'" in one.sql
    assert "'@two'" in other.sql
    with pytest.raises(Invalid, match="project"):
        asked(date(2024, 1, 1), check)


@pytest.mark.parametrize("given", [{}, {"other": "x"}])
def test_a_parameter_without_a_value_is_refused(given: Parameters) -> None:
    scope = Scope(project="local", tenant_id="acme", datasets=frozenset({"acme"}))
    with pytest.raises(Invalid, match="a parameter is not available here"):
        names.read("SELECT @day", scope, parameters=frozenset(given))
    assert names.read("SELECT @day", scope, parameters=frozenset({"day"})).refs == ()
