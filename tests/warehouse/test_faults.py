"""What is wrong with a statement, told in the words of BigQuery's SQL, at its place."""

from dataclasses import replace
from pathlib import Path

import pytest

from convergence.errors import Invalid
from convergence.model.source import GrantedSource, Kind
from convergence.warehouse.duckdb.warehouse import DuckdbWarehouse
from convergence.warehouse.folders import without_folders
from convergence.warehouse.question import FileForm, QueryLimits, Scope
from convergence.warehouse.sql.faults import sql_fault
from convergence.warehouse.sql.names import resolve
from convergence.warehouse.sql.statement import parse

SCOPE = Scope(project="local", tenant_id="acme", datasets=frozenset({"acme"}))
ROWS = "UNNEST(GENERATE_ARRAY(1, 10000)) AS n, UNNEST(GENERATE_ARRAY(1, 100)) AS m"


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT 1 FROM t WHERE", "1:21: something is missing near 'WHERE'"),
        ("SELECT 1 +", "1:10: something is missing near '+'"),
        ("SELECT 1,\n @x", "2:2: a parameter is not available here"),
        ("SELECT ?", "1:8: a parameter is not available here"),
        ("SELECT 1,\n 'abc", "2:2: a quote, a backtick or a comment is not closed"),
        ("SELECT `abc", "1:8: a quote, a backtick or a comment is not closed"),
        ("SELECT 1 /* abc", "1:10: a quote, a backtick or a comment is not closed"),
        (r"SELECT 'a\q'", r"1:8: \q is no escape in a text"),
    ],
)
def test_what_cannot_be_read_is_told_at_its_place(sql: str, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        resolve(parse(sql), SCOPE)
    assert refused.value.detail == said
    assert refused.value.hint


@pytest.mark.parametrize("sql", ["\ufeffSELECT 1", r"SELECT r'a\q', 'a\\q', '\n\x41\u00e9\''"])
def test_a_mark_of_byte_order_and_escapes_are_read(sql: str) -> None:
    assert parse(sql).selects


@pytest.mark.parametrize(
    ("asked", "message", "hint"),
    [
        (
            "tenant_profiles",
            'Table with name tenant_profiles does not exist!\nDid you mean "tenant_profiles"?',
            "did you mean tenants.tenant_profiles?",
        ),
        ("bil", 'Table with name bil does not exist!\nDid you mean "bill"?', "did you mean bill?"),
        (
            "sources",
            'Table with name sources does not exist!\nDid you mean "x_meta"?',
            "`SEL",
        ),
    ],
)
def test_a_table_that_is_not_there_is_told_with_what_was_meant(
    asked: str, message: str, hint: str
) -> None:
    fault = sql_fault(resolve(parse(f"SELECT 1 FROM {asked}"), SCOPE), message)  # noqa: S608 - constants
    assert fault.detail == f"1:15: there is no table {asked}"
    assert fault.hint.startswith(hint)


def test_what_a_function_was_given_is_told_with_bigquerys_types() -> None:
    message = "No function matches the given name and argument types 'abs(VARCHAR)'. You might"
    fault = sql_fault(resolve(parse("SELECT ABS(a) FROM t"), SCOPE), message)
    assert fault.detail == "ABS does not take (STRING)"


def test_files_of_the_server_are_named_without_its_folders() -> None:
    source = GrantedSource(table="a.b.c", files="/srv/my exports/*/*.parquet", kind=Kind.AUTO)
    root = replace(source, files="/*.csv")
    said = "changed: /srv/my exports/eur/a.parquet, /srv/my exports/usd/b, c.parquet: 5/10/2024"
    told = "changed: eur/a.parquet, usd/b, c.parquet: 5/10/2024"
    assert without_folders(said, [root, source]) == told


def test_an_answer_that_would_fill_the_disk_is_broken_off(tmp_path: Path) -> None:
    warehouse = DuckdbWarehouse(tmp_path, folders=lambda _: ())
    warehouse.ensure_dataset("acme")
    limits = QueryLimits(seconds=120, file_bytes=1_000_000)
    sql = f"SELECT REPEAT('x', 9000) AS a FROM {ROWS}"  # noqa: S608 - constants
    with pytest.raises(Invalid) as refused:
        warehouse.export(SCOPE, sql, FileForm.CSV, limits)
    assert refused.value.code == "result_too_large"
    assert list(tmp_path.rglob("*.csv")) == []
    warehouse.close()
