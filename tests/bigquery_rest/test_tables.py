"""Datasets, tables, partitions: what google's client sees of them."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from google.api_core.exceptions import BadRequest, Conflict, NotFound
from google.cloud import bigquery
from google.cloud.bigquery import ScalarQueryParameter, SchemaField

from tests.bigquery_rest.conftest import COLUMNS, DAY, Ask

Load = Callable[..., bigquery.LoadJob]


def test_a_table_is_as_it_was_made(client: bigquery.Client, table: bigquery.Table) -> None:
    found = client.get_table(table.reference)
    assert found.schema == list(COLUMNS)
    assert found.time_partitioning.field == "day"
    assert (found.clustering_fields, found.num_rows, found.location) == (["name"], 0, "US")
    with pytest.raises(Conflict):
        client.create_table(table)
    assert [item.table_id for item in client.list_tables("bill")] == ["costs"]


def test_a_dataset_goes_with_its_tables_only_when_told(
    client: bigquery.Client, table: bigquery.Table
) -> None:
    with pytest.raises(BadRequest):
        client.delete_dataset("bill")
    client.delete_dataset("bill", delete_contents=True)
    with pytest.raises(NotFound):
        client.get_dataset("bill")


def test_columns_come_at_the_end_and_none_goes(
    client: bigquery.Client, table: bigquery.Table, ask: Ask
) -> None:
    table.schema = [*COLUMNS, SchemaField("note", "STRING")]
    assert client.update_table(table, ["schema"]).schema[-1].name == "note"
    table.schema = list(COLUMNS)
    with pytest.raises(BadRequest, match="note is missing"):
        client.update_table(table, ["schema"])
    ask("ALTER TABLE costs ADD COLUMN IF NOT EXISTS n INT64, ADD COLUMN IF NOT EXISTS note STRING")
    ask("ALTER TABLE costs ALTER COLUMN n SET DEFAULT 7")
    ask("INSERT INTO costs (day, cost) VALUES (DATE '2024-11-01', 1)")
    assert ask("SELECT n, note FROM costs") == [(7, None)]


def test_tables_are_made_and_dropped_by_statements(client: bigquery.Client, ask: Ask) -> None:
    ask(
        "CREATE TABLE made (day DATE NOT NULL, at TIMESTAMP, tags ARRAY<STRUCT<k STRING>>)"
        " PARTITION BY day CLUSTER BY at OPTIONS (description = 'x', partition_expiration_days = 2)"
    )
    made = client.get_table("bill.made")
    assert [(f.name, f.field_type, f.mode) for f in made.schema] == [
        ("day", "DATE", "REQUIRED"),
        ("at", "TIMESTAMP", "NULLABLE"),
        ("tags", "RECORD", "REPEATED"),
    ]
    assert made.time_partitioning.expiration_ms == 2 * 86_400_000
    assert (made.description, made.clustering_fields) == ("x", ["at"])
    ask("CREATE TABLE IF NOT EXISTS made (other INT64)")
    ask("CREATE OR REPLACE VIEW seen AS SELECT 1 AS one FROM `my-proj-1.bill.made`")
    assert ask("SELECT one FROM seen") == []
    assert client.get_table("bill.seen").table_type == "VIEW"
    ask("DROP TABLE made")
    ask("DROP TABLE IF EXISTS made")
    with pytest.raises(NotFound):
        ask("SELECT * FROM made")


def test_partitions_are_listed_with_the_time_they_changed(
    client: bigquery.Client, table: bigquery.Table, load: Load, ask: Ask
) -> None:
    next_day = DAY + timedelta(days=1)
    load("costs", [{"day": DAY, "cost": Decimal(1)}, {"day": next_day, "cost": Decimal(2)}])
    assert client.list_partitions(table) == ["20241101", "20241102"]
    sql = (
        "SELECT partition_id, total_rows, last_modified_time FROM INFORMATION_SCHEMA.PARTITIONS"
        " WHERE table_name = 'costs' ORDER BY 1"
    ).replace("INFO", "bill.INFO")
    before = ask(sql)
    load(
        "costs$20241102",
        [{"day": next_day, "cost": Decimal(2)}],
        write_disposition="WRITE_TRUNCATE",
    )
    after = ask(sql)
    assert [row[:2] for row in after] == [("20241101", 1), ("20241102", 1)]
    assert (after[0] == before[0], after[1][2] > before[1][2]) == (True, True)


def test_a_table_by_time_of_arrival_has_pseudo_columns(client: bigquery.Client, ask: Ask) -> None:
    table = bigquery.Table("my-proj-1.bill.export", schema=[SchemaField("x", "INT64")])
    table.time_partitioning = bigquery.TimePartitioning()
    client.create_table(table)
    ask("INSERT INTO export (_PARTITIONTIME, x) VALUES (TIMESTAMP '2024-11-01', 1)")
    ask("INSERT INTO export (x) VALUES (2)")
    assert ask("SELECT * FROM export WHERE _PARTITIONDATE = '2024-11-01'") == [(1,)]
    assert ask("SELECT COUNT(*) FROM export WHERE _PARTITIONTIME > TIMESTAMP '2025-01-01'") == [
        (1,)
    ]
    assert [f.name for f in client.get_table("bill.export").schema] == ["x"]


def test_tables_are_read_by_a_wildcard(ask: Ask) -> None:
    ask("CREATE TABLE export_a AS SELECT 1 AS x")
    ask("CREATE TABLE export_b AS SELECT 2 AS x, 'new' AS y")
    sql = "SELECT _TABLE_SUFFIX, x, y FROM `bill.export_*` ORDER BY 1"
    assert ask(sql) == [("a", 1, None), ("b", 2, "new")]


def test_a_table_is_read_as_it_was(ask: Ask) -> None:
    ask("CREATE TABLE t AS SELECT 1 AS x")
    ((moment,),) = ask("SELECT CURRENT_TIMESTAMP()")
    ask("UPDATE t SET x = 2 WHERE TRUE")
    then = ScalarQueryParameter("then", "TIMESTAMP", moment)
    assert ask("SELECT x FROM t FOR SYSTEM_TIME AS OF @then", query_parameters=[then]) == [(1,)]
    assert ask("SELECT x FROM t AS u FOR SYSTEM_TIME AS OF CURRENT_TIMESTAMP()") == [(2,)]
    with pytest.raises(BadRequest, match="snapshot"):
        ask("SELECT x FROM t FOR SYSTEM_TIME AS OF TIMESTAMP '2020-01-01'")


def test_columns_of_a_dataset_are_told(table: bigquery.Table, ask: Ask) -> None:
    sql = "SELECT column_name, data_type, is_nullable FROM bill.INFORMATION_SCHEMA.COLUMNS"
    assert ask(sql) == [
        ("day", "DATE", "NO"),
        ("name", "STRING", "YES"),
        ("cost", "NUMERIC", "YES"),
        ("labels", "ARRAY<STRUCT<key STRING>>", "YES"),
    ]
