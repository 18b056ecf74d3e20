"""What statements of BigQuery SQL answer, beside answers that were worked out by hand."""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlglot import exp

from convergence.api.wire.result import json_value
from convergence.errors import Invalid
from convergence.model.table import Column, Mode
from convergence.warehouse.question import Scope
from convergence.warehouse.sql.dialect import to_duckdb
from convergence.warehouse.sql.names import TableRef, resolve
from convergence.warehouse.sql.statement import parse

TENANT = "acme"
SCOPE = Scope(project="my-proj-1", tenant_id=TENANT, datasets=frozenset({TENANT}))
LABEL = (Column(name="key", type="STRING"), Column(name="value", type="STRING"))
BILL = (
    Column(name="id", type="INT64"),
    Column(name="day", type="DATE"),
    Column(name="service", type="STRING"),
    Column(name="project", type="STRING"),
    Column(name="cost", type="NUMERIC"),
    Column(name="n", type="INT64"),
    Column(name="ts", type="TIMESTAMP"),
    Column(name="labels", type="STRUCT", mode=Mode.REPEATED, fields=LABEL),
    Column(
        name="credits",
        type="STRUCT",
        mode=Mode.REPEATED,
        fields=(Column(name="amount", type="NUMERIC"),),
    ),
)
ROWS = """
CREATE TABLE bill (
  id BIGINT, day DATE, service VARCHAR, project VARCHAR, cost DECIMAL(38,9), n BIGINT,
  ts TIMESTAMPTZ, labels STRUCT("key" VARCHAR, "value" VARCHAR)[],
  credits STRUCT(amount DECIMAL(38,9))[]);
INSERT INTO bill VALUES
  (1, '2024-01-31', 'compute', 'web', 1.5, 10, '2024-01-31 23:30:00+00',
    [{'key': 'app', 'value': 'shop'}, {'key': 'env', 'value': 'prod'}], [{'amount': -0.5}]),
  (2, '2024-02-29', 'compute', 'api', 0.000173, 20, '2024-02-29 00:00:00+00',
    [{'key': 'app', 'value': 'mail'}], [{'amount': -0.25}, {'amount': -0.125}]),
  (3, '2024-02-29', 'storage', 'web', -2.25, NULL, '2024-02-29 12:00:00.25+00', [], []),
  (4, '2024-12-31', 'storage', NULL, 10.000000001, 0, NULL, NULL, NULL);
"""
STATEMENTS = [
    tuple(re.split(r" => (?=[^>]*$|error: )", line, maxsplit=1))
    for line in (Path(__file__).parent / "statements.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
]


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"async_threads": 1}) as connection:
        connection.execute("SET GLOBAL TimeZone='UTC'")
        connection.execute("SET GLOBAL ieee_floating_point_ops=false")
        connection.execute(f"ATTACH ':memory:' AS {TENANT}")
        connection.execute(f"USE {TENANT}")
        connection.execute(ROWS)
        yield connection


def translate(sql: str) -> str:
    return to_duckdb(
        resolve(parse(sql), SCOPE),
        place=lambda ref: exp.table_(ref.table, db="main", catalog=TENANT, quoted=True),
        columns=_columns,
    )


def _columns(ref: TableRef) -> tuple[Column, ...]:
    return BILL if ref.table == "bill" else ()


def plain(value: Any) -> Any:  # noqa: ANN401 - of whatever type
    """A value as the file writes it: a decimal without zeros at its end."""
    if isinstance(value, Decimal):
        return re.sub(r"(\.\d*?)0+$", r"\1", format(value, "f")).rstrip(".")
    if isinstance(value, list):
        return [plain(item) for item in value]
    return json_value(value)


@pytest.mark.parametrize(("sql", "answer"), STATEMENTS, ids=[sql for sql, _ in STATEMENTS])
def test_a_statement_answers_as_bigquery_does(
    sql: str, answer: str, engine: duckdb.DuckDBPyConnection
) -> None:
    if answer.startswith("error: "):
        with pytest.raises((Invalid, duckdb.Error)) as caught:
            engine.execute(translate(sql)).fetchall()
        said = f"{caught.value} {getattr(caught.value, 'hint', '')}"
        assert answer.removeprefix("error: ").lower() in said.lower()
        return
    expected = json.loads(answer)
    rows = [[plain(value) for value in row] for row in engine.execute(translate(sql)).fetchall()]
    is_table = isinstance(expected, list)
    assert rows == (expected if is_table else [[expected]])
    assert [[type(value) for value in row] for row in rows] == [
        [type(value) for value in row] for row in (expected if is_table else [[expected]])
    ]


def test_there_are_enough_statements_to_trust_the_translation() -> None:
    assert len(STATEMENTS) >= 150
