"""The gate: what a caller may name, and everything else refused."""

import duckdb
import pytest
from sqlglot import exp

from convergence.errors import Invalid
from convergence.model.source import GrantedSource, Kind
from convergence.warehouse.question import Scope
from convergence.warehouse.sql.dialect import to_duckdb
from convergence.warehouse.sql.names import Resolved, TableKind, resolve
from convergence.warehouse.sql.statement import parse

PROJECT = "gac-prod-471220"
WILDCARD = GrantedSource(table="bills-1.export.gcp_billing_*", files=None, kind=Kind.AUTO)
NEAR = GrantedSource(table=f"{PROJECT}.export.near", files=None, kind=Kind.AUTO)
ACME = Scope(
    project=PROJECT, tenant_id="acme", datasets=frozenset({"acme"}), sources=(WILDCARD, NEAR)
)
OPERATOR = Scope(project=PROJECT, tenant_id=None, datasets=frozenset({"acme", "globex"}))


def read(sql: str, scope: Scope = ACME) -> Resolved:
    return resolve(parse(sql), scope)


def tables(sql: str, scope: Scope = ACME) -> set[tuple[str, str, str]]:
    return {(ref.kind.value, ref.dataset, ref.table) for ref in read(sql, scope).refs}


def refusal(sql: str, scope: Scope = ACME) -> Invalid:
    with pytest.raises(Invalid) as caught:
        read(sql, scope)
    return caught.value


@pytest.mark.parametrize(
    "name",
    [
        "acme.t",
        "t",
        "`acme`.`t`",
        "`acme.t`",
        "`gac-prod-471220.acme.t`",
        "`gac-prod-471220`.acme.t",
        "gac-prod-471220.acme.t",
        "acme.gcp_silver_cost.t",
        "gac-prod-471220.acme.gcp_silver_cost.t",
        "`gac-prod-471220.acme.gcp_silver_cost.t`",
    ],
)
def test_all_written_forms_of_an_own_table_are_the_same_table(name: str) -> None:
    assert tables(f"SELECT * FROM {name}") == {("dataset", "acme", "t")}  # noqa: S608 - a name


@pytest.mark.parametrize("name", ["tenants.t", "`gac-prod-471220.tenants.t`"])
def test_central_tables_are_readable(name: str) -> None:
    assert tables(f"SELECT * FROM {name}") == {("central", "tenants", "t")}  # noqa: S608 - a name


def test_a_source_is_read_by_its_registered_name_wildcard_included() -> None:
    (ref,) = read("SELECT * FROM `bills-1.export.gcp_billing_*`").refs
    assert ref.source is WILDCARD
    (ref,) = read("SELECT * FROM export.near").refs
    assert (ref.kind, ref.source) == (TableKind.SOURCE, NEAR)


@pytest.mark.parametrize("view", ["COLUMNS", "TABLES"])
def test_the_information_schema_is_that_of_a_readable_dataset(view: str) -> None:
    (ref,) = read(f"SELECT * FROM gac-prod-471220.tenants.INFORMATION_SCHEMA.{view}").refs  # noqa: S608 - a view
    assert (ref.dataset, ref.view) == ("tenants", view)
    assert refusal(f"SELECT * FROM globex.INFORMATION_SCHEMA.{view}").code == "table_not_readable"  # noqa: S608 - a view


@pytest.mark.parametrize(
    "name",
    [
        "globex.t",
        "nowhere.t",
        "`other-project.acme.t`",
        "`gac-prod-471220.globex.t`",
        "bills-1.export.gcp_billing_2024",
        "`bills-1.export.gcp_billing_v1_*`",
        "globex.gcp_silver_cost.t",
        "acme.gcp_gold_cost.t",
        "acme.INFORMATION_SCHEMA.SCHEMATA",
        "`region-eu`.INFORMATION_SCHEMA.JOBS",
        "ACME.t",
        "a.b.c.d.e",
        "`acme.t.`",
        "`.t`",
    ],
)
def test_a_foreign_table_is_refused_like_an_absent_one(name: str) -> None:
    error = refusal(f"SELECT * FROM {name}")  # noqa: S608 - a name
    absent = refusal("SELECT * FROM nowhere.t")
    assert error.code == "table_not_readable"
    shown = error.detail.replace(name.replace("`", ""), "nowhere.t", 1)
    assert (shown, error.hint) == (absent.detail, absent.hint)


def test_a_refusal_names_the_place() -> None:
    assert refusal("SELECT *\nFROM acme.t\nJOIN globex.u USING (x)").detail.startswith("3:")


@pytest.mark.parametrize(
    ("sql", "physical"),
    [
        ("WITH a AS (SELECT * FROM a) SELECT * FROM a", {"a"}),
        ("WITH a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a", {"b"}),
        ("WITH a AS (SELECT 1) SELECT * FROM A, b", {"b"}),
        ("WITH a AS (SELECT 1) SELECT * FROM acme.a", {"a"}),
        ("SELECT * FROM (WITH a AS (SELECT 1) SELECT * FROM a), a", {"a"}),
        ("WITH a AS (WITH b AS (SELECT 1) SELECT * FROM b) SELECT * FROM a, b", {"b"}),
        ("WITH RECURSIVE a AS (SELECT 1 UNION ALL SELECT * FROM a) SELECT * FROM a", set()),
        ("SELECT (WITH a AS (SELECT 1) SELECT * FROM a), (SELECT 1 FROM a)", {"a"}),
        ("WITH a AS (SELECT 1) SELECT (SELECT 1 FROM a WHERE EXISTS (SELECT 1 FROM c))", {"c"}),
    ],
)
def test_a_name_of_with_is_seen_only_where_bigquery_sees_it(sql: str, physical: set[str]) -> None:
    assert {ref.table for ref in read(sql).refs} == physical


def test_the_operator_reads_one_dataset_or_the_central_one_in_a_statement() -> None:
    assert tables("SELECT * FROM globex.a, globex.b", OPERATOR) == {
        ("dataset", "globex", "a"),
        ("dataset", "globex", "b"),
    }
    assert tables("SELECT * FROM tenants.t", OPERATOR) == {("central", "tenants", "t")}
    assert refusal("SELECT * FROM acme.a, globex.b", OPERATOR).code == "sql_refused"
    assert refusal("SELECT * FROM acme.a, tenants.b", OPERATOR).code == "sql_refused"
    assert refusal("SELECT * FROM a", OPERATOR).code == "table_not_readable"


def test_resolving_does_not_change_the_tree_it_is_given() -> None:
    tree = parse("SELECT * FROM acme.t")
    before = tree.sql("bigquery")
    resolve(tree, ACME)
    assert tree.sql("bigquery") == before


@pytest.mark.parametrize(
    ("sql", "command"),
    [
        ("CREATE TABLE acme.t (a INT64)", "cdp db migrate"),
        ("ALTER TABLE acme.t ADD COLUMN a INT64", "cdp db migrate"),
        ("UPDATE acme.t SET a = 1 WHERE TRUE", "cdp db migrate"),
        ("INSERT INTO acme.t VALUES (1)", "cdp db migrate"),
        ("DELETE FROM acme.t WHERE TRUE", "cdp db migrate"),
        ("MERGE acme.t USING acme.u ON FALSE WHEN MATCHED THEN DELETE", "cdp db migrate"),
        ("DROP TABLE acme.t", "cdp db migrate"),
        ("TRUNCATE TABLE acme.t", "cdp db migrate"),
    ],
)
def test_a_write_is_refused_with_the_command_that_does_the_like(sql: str, command: str) -> None:
    error = refusal(sql)
    assert error.code == "sql_refused"
    assert command in error.hint


@pytest.mark.parametrize(
    ("sql", "place"),
    [
        ("SELECT (1", "1:"),
        ("SELECT *\nFROM", "2:"),
        ("SELECT 'open", ""),
        ("SELECT `open", ""),
        ("", ""),
        ("  -- nothing\n", ""),
        ("SELECT { a }.b", "1:8"),
        ("SELECT {a}_b FROM t", "1:8"),
        ("SELECT 1 FROM t WHERE", "1:"),
    ],
)
def test_what_is_not_sql_is_a_syntax_error_at_its_place(sql: str, place: str) -> None:
    error = refusal(sql)
    assert error.code == "sql_syntax"
    assert error.detail.startswith(place)
    assert error.hint


def test_a_variable_that_nobody_filled_is_refused() -> None:
    assert "{day}" in refusal("SELECT {day} FROM t").detail
    assert "{day}" in refusal("SELECT * FROM `acme.t_{day}`").detail


def test_a_trailing_semicolon_is_no_second_statement() -> None:
    assert tables("SELECT * FROM t;") == {("dataset", "acme", "t")}


ESCAPES = """
SELECT * FROM 'x.parquet'
SELECT * FROM "x.csv"
SELECT * FROM '/etc/passwd'
SELECT * FROM `/etc/passwd`
SELECT * FROM `x.parquet`
SELECT * FROM read_csv('/etc/passwd')
SELECT * FROM read_csv_auto('/etc/passwd')
SELECT * FROM read_parquet('*.parquet')
SELECT * FROM read_json('x')
SELECT * FROM read_json_auto('x')
SELECT * FROM read_text('/etc/passwd')
SELECT * FROM read_blob('/etc/passwd')
SELECT * FROM parquet_scan('x')
SELECT * FROM parquet_metadata('x')
SELECT * FROM sniff_csv('x')
SELECT * FROM glob('/*')
SELECT * FROM duckdb_tables()
SELECT * FROM duckdb_settings()
SELECT * FROM duckdb_secrets()
SELECT * FROM duckdb_databases()
SELECT * FROM duckdb_functions()
SELECT * FROM pragma_database_list()
SELECT * FROM pragma_table_info('t')
SELECT * FROM pragma_storage_info('t')
SELECT * FROM query('SELECT 1')
SELECT * FROM query_table('t')
SELECT * FROM range(10)
SELECT * FROM generate_series(1, 10)
SELECT * FROM information_schema.columns_x
SELECT * FROM pg_catalog.pg_tables
SELECT * FROM system.main.duckdb_tables
SELECT * FROM sqlite_scan('x.db', 't')
SELECT * FROM sqlite_attach('x.db')
SELECT * FROM postgres_scan('', '', '')
SELECT * FROM st_read('x')
SELECT * FROM iceberg_scan('x')
SELECT * FROM delta_scan('x')
SELECT * FROM httpfs('x')
SELECT * FROM ML.PREDICT(MODEL acme.m, TABLE acme.t)
SELECT * FROM EXTERNAL_QUERY('c', 'SELECT 1')
SELECT * FROM acme.read_csv('x')
SELECT * FROM (SELECT * FROM read_csv('x'))
SELECT * FROM t, LATERAL read_csv('x')
SELECT * FROM t JOIN read_csv('x') ON TRUE
SELECT * FROM UNNEST(glob('/*'))
SELECT * FROM UNNEST([getenv('HOME')])
WITH a AS (SELECT * FROM read_csv('x')) SELECT * FROM a
SELECT 1 WHERE EXISTS (SELECT * FROM read_csv('x'))
SELECT 1 UNION ALL SELECT * FROM read_csv('x')
SELECT getenv('HOME')
SELECT `getenv`('HOME')
SELECT current_setting('memory_limit')
SELECT current_setting('x') FROM t
SELECT main.getenv('HOME')
SELECT system.main.getenv('HOME')
SELECT SAFE.getenv('HOME')
SELECT NET.HOST('x')
SELECT KEYS.NEW_KEYSET('x')
SELECT current_user
SELECT SESSION_USER()
SELECT current_schema
SELECT current_schema()
SELECT current_catalog
SELECT current_database()
SELECT current_query()
SELECT version()
SELECT pg_typeof(1)
SELECT nextval('s')
SELECT txid_current()
SELECT read_text('/etc/passwd')
SELECT content FROM read_text('/etc/passwd')
SELECT list_transform([1], x -> getenv('HOME'))
SELECT COLUMNS('a.*') FROM t
SELECT columns(*) FROM t
SELECT add_parquet_key('a', 'b')
SELECT write_log('x')
SELECT sleep(10)
SELECT md5_number('x')
SELECT getvariable('x')
SELECT set_config('a', 'b')
SELECT @@version
SELECT @x
SELECT ?
SELECT :x
SELECT EXTRACT('year) FROM x' FROM d) FROM t
SELECT CAST(1 AS enum_of_somebody)
SELECT CAST(1 AS UUID)
SELECT DATE_ADD(d, INTERVAL 1 'day') FROM t WHERE getenv('x') = ''
SELECT 1; SELECT 2
SELECT 1; DROP TABLE acme.t
SELECT 1 INTO OUTFILE 'x'
SELECT * INTO acme.u FROM t
SELECT * FROM t FOR UPDATE
SELECT * FROM t TABLESAMPLE SYSTEM (10 PERCENT)
SELECT * FROM t FOR SYSTEM_TIME AS OF TIMESTAMP '2024-01-01'
SELECT * FROM t AT (VERSION => 1)
SELECT * FROM t MATCH_RECOGNIZE (PATTERN (a) DEFINE a AS TRUE)
WITH x AS (INSERT INTO acme.t VALUES (1)) SELECT 1
WITH x AS (DELETE FROM acme.t WHERE TRUE) SELECT 1
WITH x AS (UPDATE acme.t SET a = 1) SELECT 1
SELECT (CREATE TABLE x AS SELECT 1)
FROM read_csv('x')
FROM 'x.csv' |> SELECT *
TABLE acme.t
VALUES (1)
DESCRIBE acme.t
SHOW TABLES
SUMMARIZE acme.t
EXPLAIN SELECT 1
PRAGMA database_list
CALL duckdb_tables()
ATTACH 'x.db' AS x
DETACH acme
USE acme
SET memory_limit = '1TB'
RESET memory_limit
LOAD httpfs
INSTALL httpfs
COPY acme.t TO 'x.csv'
COPY (SELECT 1) TO 'x.csv'
EXPORT DATABASE 'x'
IMPORT DATABASE 'x'
EXPORT DATA OPTIONS (uri = 'x') AS SELECT 1
CREATE SECRET s (TYPE s3)
CREATE MACRO f(x) AS getenv(x)
CREATE TEMP FUNCTION f() AS (1)
CHECKPOINT
VACUUM
BEGIN
COMMIT
PREPARE p AS SELECT 1
EXECUTE p
EXECUTE IMMEDIATE 'SELECT 1'
DECLARE x INT64
ASSERT TRUE
PIVOT acme.t ON a USING SUM(b)
""".strip().splitlines()


@pytest.mark.parametrize("sql", ESCAPES)
def test_nothing_but_a_query_of_allowed_tables_and_functions_passes(sql: str) -> None:
    with pytest.raises(Invalid) as caught:
        to_duckdb(read(sql), place=lambda ref: exp.table_(ref.table), columns=lambda _: ())
    codes = {"sql_refused", "sql_syntax", "sql_failed", "table_not_readable"}
    assert caught.value.code in codes


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + "(" * 500 + "1" + ")" * 500,
        "SELECT " + "NOT " * 5_000 + "TRUE",
        "SELECT " + "- " * 5_000 + "1",
        "SELECT 1 -- " + "x" * 300_000,
        "SELECT '\0'",
        "SELECT " + "[" * 5_000,
        "SELECT * FROM " + "(SELECT * FROM " * 300 + "t" + ")" * 300,
    ],
    ids=["parentheses", "not", "minus", "long", "nul", "brackets", "subqueries"],
)
def test_a_statement_made_to_exhaust_is_refused(sql: str) -> None:
    assert refusal(sql).code in {"sql_refused", "sql_syntax"}


def test_many_conditions_are_not_deep() -> None:
    conditions = " OR ".join(f"a = {number}" for number in range(400))
    assert tables(f"SELECT * FROM t WHERE {conditions}")  # noqa: S608 - numbers


@pytest.mark.parametrize("name", ["duckdb_databases", "sqlite_master", "pg_database"])
@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE ? AS (SELECT * FROM ?) SELECT * FROM ?",
        "WITH RECURSIVE ? AS (SELECT * FROM ? UNION ALL SELECT * FROM ?) SELECT * FROM ?",
        "SELECT (WITH RECURSIVE ? AS (SELECT * FROM ?) SELECT COUNT(*) FROM ?)",
    ],
)
def test_a_with_that_names_itself_never_reaches_the_catalog(sql: str, name: str) -> None:
    translated = to_duckdb(
        read(sql.replace("?", name)), place=lambda _: exp.null(), columns=lambda _: ()
    )
    with duckdb.connect() as connection, pytest.raises(duckdb.Error):
        connection.execute(translated).fetchall()


def test_a_with_that_counts_up_still_works() -> None:
    sql = """WITH RECURSIVE n AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM n WHERE x < 3)
        SELECT n.x FROM n ORDER BY x"""
    translated = to_duckdb(read(sql), place=lambda _: exp.null(), columns=lambda _: ())
    with duckdb.connect() as connection:
        assert connection.execute(translated).fetchall() == [(1,), (2,), (3,)]
