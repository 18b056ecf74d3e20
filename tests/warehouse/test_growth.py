"""A short statement must not become one that fills the memory."""

import pytest
from sqlglot import exp

from convergence.errors import Invalid
from convergence.warehouse.question import Scope
from convergence.warehouse.sql.dialect import to_duckdb
from convergence.warehouse.sql.names import resolve
from convergence.warehouse.sql.statement import parse

SCOPE = Scope(project="p", tenant_id="acme", datasets=frozenset({"acme"}))


def translate(sql: str) -> str:
    tree = resolve(parse(sql), SCOPE)
    return to_duckdb(tree, place=lambda ref: exp.to_table(ref.table), columns=lambda _: ())


def test_parts_of_with_that_name_one_another_twice_cannot_fill_the_memory() -> None:
    parts = ["t0 AS (SELECT * FROM t)"]
    parts += [f"t{n} AS (SELECT * FROM t{n - 1} a, t{n - 1} b)" for n in range(1, 20)]  # noqa: S608 - numbers alone
    with pytest.raises(Invalid, match="reads tables more than 250 times"):
        translate(f"WITH {', '.join(parts)} SELECT COUNT(*) FROM t19")  # noqa: S608 - numbers alone


def test_a_part_of_with_may_be_named_often_and_by_itself() -> None:
    joined = " UNION ALL ".join(["SELECT n FROM r"] * 100)
    recursive = "WITH RECURSIVE r AS (SELECT n FROM t UNION ALL SELECT n + 1 FROM r WHERE n < 9)"
    assert "RECURSIVE" in translate(f"{recursive} {joined}")


@pytest.mark.parametrize("operator", ["+", "*", " || "])
def test_a_sum_of_thousands_is_refused_at_its_place_before_it_is_parsed(operator: str) -> None:
    with pytest.raises(Invalid, match=r"^\d+:\d+: more than 400 operators") as refused:
        parse(f"SELECT\n  {operator.join(['1'] * 30_000)}")
    assert (refused.value.code, refused.value.detail[:2]) == ("sql_refused", "2:")


@pytest.mark.parametrize("connective", [" OR ", " AND "])
def test_a_chain_of_thousands_of_conditions_is_refused_before_it_is_parsed(connective: str) -> None:
    chain = connective.join(["(a = 1 AND b > 2)"] * 8_000)
    with pytest.raises(Invalid, match="more than 400 conditions") as refused:
        parse(f"SELECT 1 FROM t WHERE {chain}")  # noqa: S608 - words alone
    assert "IN (" in refused.value.hint


@pytest.mark.parametrize("select", ["SELECT a FROM t", "SELECT 1 AS a"])
def test_a_union_of_hundreds_of_selects_is_refused(select: str) -> None:
    with pytest.raises(Invalid, match="reads tables more than 250 times"):
        translate(" UNION ALL ".join([select] * 251))
    assert translate(" UNION ALL ".join([select] * 250))


def test_joins_of_a_hundred_tables_are_refused_wherever_they_stand() -> None:
    half = "FROM t AS t0 " + " ".join(f"JOIN t AS t{n} USING (a)" for n in range(1, 51))
    two = f"WITH h AS (SELECT t0.a {half}) SELECT x.a FROM h AS x JOIN h AS y USING (a)"  # noqa: S608 - names alone
    with pytest.raises(Invalid, match="joins tables more than 100 times"):
        translate(two)
    assert translate(f"SELECT t0.a {half}")


def test_many_short_expressions_are_no_long_one() -> None:
    columns = ", ".join(f"a + {number} AS c{number}" for number in range(300))
    conditions = " OR ".join(f"a * 2 - b = {number}" for number in range(300))
    assert translate(f"SELECT {columns} FROM t WHERE {conditions}")  # noqa: S608 - numbers alone
    assert translate(f"SELECT {' + '.join(['a'] * 400)} FROM t")  # noqa: S608 - names alone
