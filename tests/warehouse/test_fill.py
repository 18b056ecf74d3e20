"""Variables in SQL: on the tree, typed, once."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from convergence.errors import Invalid
from convergence.warehouse.question import Scope, Value
from convergence.warehouse.sql.dialect import to_duckdb
from convergence.warehouse.sql.fill import fill
from convergence.warehouse.sql.names import path_of, resolve
from convergence.warehouse.sql.statement import parse

NAMES: dict[str, Value] = {
    "date": date(2024, 11, 1),
    "table": "bills-1.export.gcp_billing_*",
    "dataset": "acme",
    "count": 5,
    "debt": -5,
    "flag": True,
    "when": datetime(2024, 11, 1, 12, tzinfo=timezone(timedelta(hours=2))),
    "nothing": None,
}
TRICKS = (
    "' OR 1=1 --|\\' OR 1=1 --|'); DROP TABLE t; --|\\|\\\\'|\"|\"\"\"|'''|`"
    "|{date}|{v}|@v|*/|--|#|\\n|$1|?|\n\r\t|\ue000date"
)
HOSTILE = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40),
    st.sampled_from(TRICKS.split("|")),
)
patient = settings(deadline=None, max_examples=80)
TEMPLATE = "SELECT '{v}' AS a, {v} AS b, @v AS c, \"<{v}>\" AS d, r'{v}' AS e, '''{v}''' AS f"


def filled(template: str, **values: Value) -> str:
    return fill(template, NAMES | values, {"p": "bound"}).sql("bigquery")


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"async_threads": 1}) as connection:
        yield connection


def refusal(template: str, **values: Value) -> Invalid:
    with pytest.raises(Invalid) as caught:
        filled(template, **values)
    return caught.value


@patient
@given(value=HOSTILE)
def test_the_engine_reads_exactly_the_text_that_was_given(
    value: str, engine: duckdb.DuckDBPyConnection
) -> None:
    scope = Scope(project="p", tenant_id="acme", datasets=frozenset({"acme"}))
    resolved = resolve(fill(TEMPLATE, {"v": value}, {"v": value}), scope)
    sql = to_duckdb(resolved, place=lambda ref: exp.table_(ref.table), columns=lambda _: ())
    row = engine.execute(sql).fetchone()
    assert row == (value, value, value, f"<{value}>", value, value)


@patient
@given(HOSTILE)
def test_a_hostile_value_changes_nothing_of_the_tree_but_literals(value: str) -> None:
    assert _shape(fill(TEMPLATE, {"v": value}, {"v": value})) == _shape(
        fill(TEMPLATE, {"v": "plain"}, {"v": "plain"})
    )


@patient
@given(HOSTILE)
def test_a_hostile_value_is_an_identifier_only_when_it_is_a_name(value: str) -> None:
    try:
        tree = fill("SELECT 1 FROM `acme.t_{v}`, {v}", {"v": value}, {})
    except Invalid:
        return
    first, second = (path_of(table) for table in tree.find_all(exp.Table))
    assert ".".join(first) == f"acme.t_{value}"
    assert ".".join(second) == value
    assert re.fullmatch(r"[A-Za-z0-9_.-]+\*?", value)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("SELECT {date}", "SELECT CAST('2024-11-01' AS DATE)"),
        ("SELECT DATE '{date}'", "SELECT CAST('2024-11-01' AS DATE)"),
        ("SELECT 'on {date}.'", "SELECT 'on 2024-11-01.'"),
        ("SELECT {count} + {debt}", "SELECT 5 + (-5)"),
        ("SELECT {flag}, '{flag}'", "SELECT TRUE, 'true'"),
        ("SELECT {nothing}", "SELECT NULL"),
        ("SELECT {when}", "SELECT CAST('2024-11-01 10:00:00+00:00' AS TIMESTAMP)"),
        ("SELECT 1 LIMIT {count}", "SELECT 1 LIMIT 5"),
        ("SELECT @p", "SELECT 'bound'"),
        ("SELECT `cost_{count}`", "SELECT `cost_5`"),
        ("SELECT 1 FROM `{table}`", "SELECT 1 FROM `bills-1.export.gcp_billing_*`"),
        ("SELECT 1 FROM {table}", "SELECT 1 FROM `bills-1.export.gcp_billing_*`"),
        ("SELECT 1 FROM `p.{dataset}.t`", "SELECT 1 FROM `p.acme.t`"),
        ("SELECT 1 FROM {dataset}.t", "SELECT 1 FROM `acme`.t"),
        ("SELECT '{\"a\": 1}', 'x{2}'", "SELECT '{\"a\": 1}', 'x{2}'"),
    ],
)
def test_a_variable_becomes_what_its_place_asks_for(template: str, expected: str) -> None:
    assert filled(template) == expected


def test_a_variable_in_a_comment_is_no_variable() -> None:
    assert "5" not in filled("SELECT 1 -- {count}\n /* {nobody} */")


@pytest.mark.parametrize(
    ("template", "code", "says"),
    [
        ("SELECT {dat}", "unknown_variable", "did you mean date?"),
        ("SELECT '{dat}'", "unknown_variable", "did you mean date?"),
        ("SELECT @q", "unknown_variable", "known: p"),
        ("SELECT 1 FROM {nobody}", "unknown_variable", "known: "),
        ("SELECT 1 AS {count}", "invalid_variable", "`{count}`"),
        ("SELECT {dataset}.x FROM t", "invalid_variable", "`{dataset}`"),
        ("SELECT '{nothing}'", "invalid_variable", ""),
        ("SELECT JSON_VALUE(a, '$.{count}')", "invalid_variable", ""),
        ("SELECT b'{count}'", "invalid_variable", ""),
    ],
)
def test_a_variable_that_cannot_be_is_refused(template: str, code: str, says: str) -> None:
    error = refusal(template)
    assert error.code == code
    assert says in error.hint


@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
def test_a_text_that_no_engine_can_hold_is_refused(value: str) -> None:
    assert refusal("SELECT '{v}'", v=value).code == "invalid_variable"
    assert refusal("SELECT {v}", v=value).code == "invalid_variable"


@pytest.mark.parametrize("value", ["a b", "a`b", "a.b", "", "a;b", "ä", "a*", "{date}"])
def test_a_part_of_an_identifier_is_checked(value: str) -> None:
    template = "SELECT `x{v}` FROM t" if value else "SELECT `{v}` FROM t"
    assert refusal(template, v=value).code == "invalid_variable"


def test_filling_does_not_change_the_template() -> None:
    tree = parse("SELECT {count}, '{count}'")
    before = repr(tree)
    fill(tree, NAMES, {})
    assert repr(tree) == before


def test_a_moment_is_shown_in_utc() -> None:
    noon = datetime(2024, 11, 1, 12, tzinfo=UTC)
    assert filled("SELECT '{v}'", v=noon) == "SELECT '2024-11-01 12:00:00+00:00'"


def _shape(tree: exp.Query) -> str:
    for literal in list(tree.find_all(exp.Literal)):
        literal.replace(exp.Literal.string("…"))
    return repr(tree)
