"""BigQuery's meaning on DuckDB: each rule as SQL in, SQL out, and what the engine answers."""

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from convergence.errors import Invalid
from convergence.model.table import Column, Mode
from convergence.warehouse.question import Scope
from convergence.warehouse.sql.dialect import to_duckdb
from convergence.warehouse.sql.faults import sql_fault
from convergence.warehouse.sql.names import TableKind, TableRef, resolve
from convergence.warehouse.sql.statement import parse

PROJECT = "gac-prod-471220"
TENANT = "docker_customer_3434x4"
SCOPE = Scope(project=PROJECT, tenant_id=TENANT, datasets=frozenset({TENANT}))


def records(name: str, *fields: Column) -> Column:
    return Column(name=name, type="STRUCT", mode=Mode.REPEATED, fields=fields)


COLUMNS = (
    Column(name="cost", type="NUMERIC"),
    Column(name="float", type="FLOAT64"),
    Column(name="n", type="INT64"),
    Column(name="d", type="DATE"),
    Column(name="ts", type="TIMESTAMP"),
    records("labels", Column(name="key", type="STRING"), Column(name="value", type="STRING")),
    records("credits", Column(name="amount", type="FLOAT64")),
)
ROWS = """
CREATE SCHEMA tenants;
CREATE TABLE main.t AS SELECT * FROM (VALUES
  (1.5::DECIMAL(38,9), 0.1::DOUBLE, 2::BIGINT, DATE '2024-11-03',
   TIMESTAMPTZ '2024-11-03 23:30:00+00',
   [{'key': 'app', 'value': 'web'}, {'key': 'env', 'value': 'prod'}],
   [{'amount': -0.5::DOUBLE}, NULL, {'amount': -0.25}]),
  (3, 98765432.1, 0, DATE '2024-11-04', TIMESTAMPTZ '2024-11-04 01:00:00+00', [], NULL)
) x(cost, float, n, d, ts, labels, credits);
"""
ZERO = 'CASE WHEN ("n") = 0 THEN ERROR(\'division by zero\') ELSE "n" END'
T = '"docker_customer_3434x4"."main"."t" AS "t"'


def place(ref: TableRef) -> exp.Expr:
    schema = "tenants" if ref.kind is TableKind.CENTRAL else "main"
    return exp.table_(ref.table, db=schema, catalog=TENANT, quoted=True)


def columns(ref: TableRef) -> tuple[Column, ...]:
    return COLUMNS if ref.table == "t" else ()


def translate(sql: str) -> str:
    return to_duckdb(resolve(parse(sql), SCOPE), place=place, columns=columns)


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"async_threads": 1}) as connection:
        connection.execute("SET GLOBAL TimeZone='UTC'")
        connection.execute(f"ATTACH ':memory:' AS {TENANT}")
        connection.execute(f"USE {TENANT}")
        connection.execute(ROWS)
        yield connection


def refusal(sql: str) -> Invalid:
    with pytest.raises(Invalid) as caught:
        translate(sql)
    return caught.value


GOLDEN: list[tuple[str, str, list[tuple[Any, ...]]]] = [
    (
        "SELECT CAST('0.000173' AS NUMERIC), CAST('1.005' AS NUMERIC(10, 2))",
        "SELECT CAST('0.000173' AS DECIMAL(38, 9)), CAST('1.005' AS DECIMAL(10, 2))",
        [(Decimal("0.000173"), Decimal("1.01"))],
    ),
    (
        "SELECT CAST('0.000000000000000001' AS BIGNUMERIC)",
        "SELECT CAST('0.000000000000000001' AS DECIMAL(38, 18))",
        [(Decimal("1E-18"),)],
    ),
    (
        "SELECT x, o FROM UNNEST(['a', 'b']) AS x WITH OFFSET AS o",
        (
            'SELECT "x", "o" FROM (SELECT UNNEST([\'a\', \'b\']) AS "x",'
            " (GENERATE_SUBSCRIPTS(['a', 'b'], 1)) - 1 AS \"o\")"
        ),
        [("a", 0), ("b", 1)],
    ),
    (
        "SELECT TIMESTAMP_DIFF(ts, TIMESTAMP '2024-11-03 23:29:58.1+00', SECOND) FROM t LIMIT 1",
        (
            "SELECT DATE_SUB('second', CAST('2024-11-03 23:29:58.1+00' AS TIMESTAMPTZ), \"ts\")"
            " FROM @t LIMIT 1"
        ),
        [(1,)],
    ),
    ("SELECT 7 / n FROM t LIMIT 1", "SELECT 7 / @zero FROM @t LIMIT 1", [(3.5,)]),
    (
        "SELECT IF(n = 0, -1, MOD(7, n)), 10 / NULLIF(n, 0) FROM t",
        'SELECT CASE WHEN "n" = 0 THEN -1 ELSE 7 % @zero END, 10 / NULLIF("n", 0) FROM @t',
        [(1, 5.0), (-1, None)],
    ),
    (
        "SELECT cost / 4, SAFE_DIVIDE(cost, n), AVG(cost) OVER () FROM t",
        (
            'SELECT CAST("cost" / 4 AS DECIMAL(38, 9)), CAST(CASE WHEN "n" <> 0 THEN "cost" / "n"'
            ' ELSE NULL END AS DECIMAL(38, 9)), CAST(AVG("cost") OVER () AS DECIMAL(38, 9))'
            " FROM @t"
        ),
        [
            (Decimal("0.375"), Decimal("0.75"), Decimal("2.25")),
            (Decimal("0.75"), None, Decimal("2.25")),
        ],
    ),
    (
        "SELECT COUNTIF(cost > 100) FROM t WHERE FALSE",
        'SELECT COUNT(CASE WHEN "cost" > 100 THEN 1 END) FROM @t WHERE FALSE',
        [(0,)],
    ),
    (
        "SELECT SUM(cost * cost) FROM t",
        'SELECT SUM(CAST("cost" * "cost" AS DECIMAL(38, 9))) FROM @t',
        [(Decimal("11.25"),)],
    ),
    (
        "SELECT MAX(DATE(ts)) FROM t",
        'SELECT MAX(CAST("ts" AS DATE)) FROM @t',
        [(date(2024, 11, 4),)],
    ),
    (
        "SELECT DATE_ADD(d, INTERVAL 1 DAY), DATE_TRUNC(d, MONTH) FROM t LIMIT 1",
        (
            "SELECT CAST(\"d\" + INTERVAL '1' DAY AS DATE),"
            " CAST(DATE_TRUNC('MONTH', \"d\") AS DATE)"
            " FROM @t LIMIT 1"
        ),
        [(date(2024, 11, 4), date(2024, 11, 1))],
    ),
    (
        "SELECT n FROM gac-prod-471220.docker_customer_3434x4.t",
        'SELECT "n" FROM @t',
        [(2,), (0,)],
    ),
    (
        "SELECT (SELECT value FROM UNNEST(labels) WHERE key = 'app') FROM t",
        (
            'SELECT (SELECT "value" FROM (SELECT UNNEST("labels", max_depth := 2))'
            " WHERE \"key\" = 'app') FROM @t"
        ),
        [("web",), (None,)],
    ),
    (
        "SELECT a, b FROM UNNEST([STRUCT(1 AS a, 'x' AS b), (2, 'y')])",
        (
            "SELECT \"a\", \"b\" FROM (SELECT UNNEST([{'a': 1, 'b': 'x'}, {'a': 2, 'b': 'y'}],"
            " max_depth := 2))"
        ),
        [(1, "x"), (2, "y")],
    ),
    (
        "SELECT (SELECT SUM(c.amount) FROM UNNEST(credits) c) FROM t",
        'SELECT LIST_SUM(LIST_TRANSFORM("credits", LAMBDA "c" : "c"."amount")) FROM @t',
        [(-0.75,), (None,)],
    ),
    (
        "SELECT (SELECT SUM(c.amount) FROM UNNEST(credits) c WHERE c.amount > -0.3) FROM t",
        (
            'SELECT (SELECT SUM("c"."amount") FROM (SELECT UNNEST("credits") AS "c")'
            ' WHERE "c"."amount" > -0.3) FROM @t'
        ),
        [(-0.25,), (None,)],
    ),
    (
        "SELECT l.key, t.n FROM t, t.labels AS l ORDER BY 1",
        (
            'SELECT "l"."key", "t"."n" FROM @t CROSS JOIN (SELECT UNNEST("t"."labels") AS "l")'
            " ORDER BY 1 NULLS FIRST"
        ),
        [("app", 2), ("env", 2)],
    ),
    (
        "SELECT EXTRACT(DAYOFWEEK FROM d), EXTRACT(HOUR FROM ts) FROM t",
        "SELECT (DATE_PART('dow', \"d\") + 1), DATE_PART('hour', \"ts\") FROM @t",
        [(1, 23), (2, 1)],
    ),
    (
        "SELECT EXTRACT(WEEK FROM d) FROM t",
        "SELECT CAST(STRFTIME(\"d\", '%U') AS BIGINT) FROM @t",
        [(44,), (44,)],
    ),
    ("SELECT CAST(2.5e0 AS INT64)", "SELECT CAST(ROUND(2.5e0) AS BIGINT)", [(3,)]),
    (
        "SELECT 1.5, cost * 1.5 FROM t LIMIT 1",
        'SELECT 1.5e0, CAST("cost" * 1.5 AS DECIMAL(38, 9)) FROM @t LIMIT 1',
        [(1.5, Decimal("2.25"))],
    ),
    (
        "SELECT CAST(cost AS STRING) FROM t",
        (
            "SELECT RTRIM(REGEXP_REPLACE(CAST(\"cost\" AS TEXT), '(\\.[0-9]*?)0+$', '\\1'), '.')"
            " FROM @t"
        ),
        [("1.5",), ("3",)],
    ),
    (
        r"SELECT 'a%c' LIKE r'a\%c', 'abc' LIKE r'a\%c'",
        r"SELECT 'a%c' LIKE 'a\%c' ESCAPE '\', 'abc' LIKE 'a\%c' ESCAPE '\'",
        [(True, False)],
    ),
    (
        "SELECT FORMAT_TIMESTAMP('%F %H:%M', ts, 'Asia/Tokyo') FROM t LIMIT 1",
        (
            "SELECT STRFTIME(CAST(\"ts\" AT TIME ZONE 'Asia/Tokyo' AS TIMESTAMP), '%Y-%m-%d %H:%M')"
            " FROM @t LIMIT 1"
        ),
        [("2024-11-04 08:30",)],
    ),
    (
        "SELECT TIMESTAMP_MICROS(1000000)",
        "SELECT CAST(MAKE_TIMESTAMP(1000000) AS TIMESTAMPTZ)",
        [(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC),)],
    ),
]


@pytest.mark.parametrize(("sql", "expected", "rows"), GOLDEN)
def test_a_rule_gives_this_sql_and_this_answer(
    sql: str, expected: str, rows: list[tuple[Any, ...]], engine: duckdb.DuckDBPyConnection
) -> None:
    translated = translate(sql)
    unnamed = re.sub(r' AS "f[0-9]_"', "", translated)
    assert unnamed == expected.replace("@zero", ZERO).replace("@t", T)
    assert engine.execute(translated).fetchall() == rows


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 / n FROM t",
        "SELECT MOD(1, n) FROM t",
        "SELECT DIV(1, n) FROM t",
        "SELECT cost / (n * 2) FROM t",
        "SELECT float / n FROM t",
    ],
)
def test_division_by_zero_is_an_error(sql: str, engine: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(duckdb.Error, match="division by zero"):
        engine.execute(translate(sql)).fetchall()


@pytest.mark.parametrize(
    "value", ["1.5e-9", "98765432.1", "0.1", "-2.5e-9", "8388608.0000000005", "1e-10", "123.456"]
)
@pytest.mark.parametrize("cast", ["CAST(x AS NUMERIC)", "CAST(x * 1 AS NUMERIC)"])
def test_a_float_becomes_numeric_by_its_exact_binary_value(
    cast: str, value: str, engine: duckdb.DuckDBPyConnection
) -> None:
    inner = f"(SELECT CAST('{value}' AS FLOAT64) AS x)"
    got = engine.execute(translate(f"SELECT {cast} FROM {inner}")).fetchall()  # noqa: S608 - a number
    exactly = Decimal(float(value)).quantize(Decimal("1E-9"), rounding="ROUND_HALF_UP")
    assert got == [(exactly,)]


def test_types_are_known_through_with_and_star(engine: duckdb.DuckDBPyConnection) -> None:
    sql = """WITH a AS (SELECT * FROM t), b AS (SELECT a.float AS f FROM a)
        SELECT CAST(f AS NUMERIC) FROM b"""
    assert engine.execute(translate(sql)).fetchall()[1] == (Decimal("98765432.099999994"),)


def test_credits_are_summed_exactly(engine: duckdb.DuckDBPyConnection) -> None:
    sql = "SELECT (SELECT SUM(CAST(c.amount AS NUMERIC)) FROM UNNEST(credits) AS c) FROM t"
    translated = translate(sql)
    assert "LIST_SUM" in translated
    assert engine.execute(translated).fetchall() == [(Decimal("-0.75"),), (None,)]


def test_the_information_schema_speaks_bigquery(engine: duckdb.DuckDBPyConnection) -> None:
    sql = f"""SELECT table_catalog, table_schema, column_name, data_type
        FROM `{PROJECT}.{TENANT}.INFORMATION_SCHEMA.COLUMNS`
        WHERE table_name = 't' ORDER BY ordinal_position LIMIT 5"""  # noqa: S608 - constants
    rows = engine.execute(translate(sql)).fetchall()
    assert {row[:2] for row in rows} == {(PROJECT, TENANT)}
    assert [row[2:] for row in rows] == [(c.name, c.type) for c in COLUMNS[:5]]
    tables = translate(f"SELECT table_name FROM {TENANT}.INFORMATION_SCHEMA.TABLES")  # noqa: S608
    assert ("t",) in engine.execute(tables).fetchall()


def test_a_source_that_is_a_query_keeps_its_name(engine: duckdb.DuckDBPyConnection) -> None:
    source = exp.select(exp.alias_(exp.convert(7), "n")).subquery()
    resolved = resolve(parse("SELECT x.n, y.n FROM x JOIN t AS y ON x.n > y.n"), SCOPE)
    sql = to_duckdb(
        resolved, place=lambda ref: source if ref.table == "x" else place(ref), columns=columns
    )
    assert engine.execute(sql).fetchall() == [(7, 2), (7, 0)]


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("SELECT\n  ARRAY_AGG(DISTINCT n IGNORE NULLS LIMIT 2) FROM t", "ARRAY_AGG"),
        ("SELECT\n  EXTRACT(ISOWEEK FROM d) FROM t", "ISOWEEK"),
        ("SELECT\n  EXTRACT(MILLISECOND FROM ts) FROM t", "MILLISECOND"),
        ("SELECT\n  FORMAT_TIMESTAMP('%E4Y', ts) FROM t", "%E"),
        ("SELECT\n  FORMAT_DATE('%e', d) FROM t", "%-d"),
        ("SELECT\n  FARM_FINGERPRINT('a')", "FARM_FINGERPRINT"),
        ("SELECT\n  RANGE_BUCKET(n, [1]) FROM t", "RANGE_BUCKET"),
        ("SELECT\n  SAFE.SUBSTR('a', 1)", "SAFE"),
        ("SELECT\n  d FROM t FOR SYSTEM_TIME AS OF ts", "FOR SYSTEM_TIME AS OF"),
        ("SELECT\n  TIMESTAMP_DIFF(ts, ts, NANOSECOND) FROM t", "NANOSECOND"),
        ("SELECT\n  d - DATE '2024-11-01' FROM t", "DATE_DIFF"),
        ("SELECT\n  _TABLE_SUFFIX FROM t", "_TABLE_SUFFIX"),
        ("SELECT\n  1 FROM t WHERE _PARTITIONTIME > ts", "_PARTITIONTIME"),
        ("SELECT\n  PARSE_TIMESTAMP('%F', '2024-11-01', 'Asia/Tokyo')", "PARSE_TIMESTAMP"),
        ("SELECT\n  FORMAT('%d', n) FROM t", "FORMAT"),
    ],
)
def test_what_has_no_exact_translation_is_refused_by_name_and_place(sql: str, name: str) -> None:
    error = refusal(sql)
    assert name in error.detail + error.hint
    assert error.detail.startswith("2:")
    assert error.hint


def test_a_scale_that_cannot_be_held_is_refused() -> None:
    assert "BIGNUMERIC(50, 20)" in refusal("SELECT CAST('1' AS BIGNUMERIC(50, 20))").detail


@pytest.mark.parametrize(
    ("sql", "place", "hint"),
    [
        ("SELECT u.n FROM t", "1:8", ""),
        ("SELECT n, SUM(cost) FROM t", "1:8", "GROUP BY"),
        ("SELECT n FROM t AS a, t AS b", "1:8", "alias"),
        ("SELECT 1\nFROM absent", "2:6", "INFORMATION_SCHEMA"),
        ("SELECT ABS(labels) FROM t", "ABS does not take (STRUCT", "cannot be run"),
    ],
)
def test_a_fault_found_by_the_engine_is_told_at_its_place(
    sql: str, place: str, hint: str, engine: duckdb.DuckDBPyConnection
) -> None:
    with pytest.raises(duckdb.Error) as caught:
        engine.execute(translate(sql))
    error = sql_fault(resolve(parse(sql), SCOPE), str(caught.value))
    assert error.code == "sql_failed"
    assert error.detail.startswith(place)
    assert hint in error.hint
    assert "LINE 1" not in error.detail


@pytest.mark.parametrize(
    "nested",
    ["1/({})", "SAFE_DIVIDE(1, {})", "GREATEST({}, 1)", "CAST(CAST({} AS FLOAT64) AS NUMERIC)"],
)
def test_operands_that_are_written_twice_cannot_fill_the_memory(nested: str) -> None:
    sql = "n"
    for _ in range(18):
        sql = nested.format(sql)
    assert "too complicated" in refusal(f"SELECT {sql} FROM t").detail  # noqa: S608 - a formula


WORDS = str.split(
    "SELECT FROM WHERE GROUP BY WITH AS ( ) ( ) , . * - / t n cost labels credits c UNNEST SUM"
    " CAST NUMERIC INTERVAL DAY 1 'x' `t` UNION ALL JOIN ON CASE WHEN END EXTRACT DATE_ADD LIMIT"
    " REGEXP_EXTRACT TIMESTAMP_DIFF STRUCT ARRAY [ ] OVER ORDER PIVOT IN OFFSET @p { } ; -- NULL"
)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(WORDS), max_size=14))
def test_any_row_of_words_is_translated_or_refused(words: list[str]) -> None:
    with suppress(Invalid):
        translate("SELECT " + " ".join(words))


def test_columns_without_a_name_are_numbered_as_bigquery_does(
    engine: duckdb.DuckDBPyConnection,
) -> None:
    engine.execute(translate("SELECT COUNT(*), 1 AS one, MAX(n), MAX(n) AS n FROM t"))
    assert [column[0] for column in engine.description or ()] == ["f0_", "one", "f1_", "n"]
    engine.execute(translate("SELECT CAST('Infinity' AS FLOAT64), CAST(n AS STRING), n, 7 FROM t"))
    assert [column[0] for column in engine.description or ()] == ["f0_", "f1_", "n", "f2_"]
