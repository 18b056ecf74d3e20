"""Jobs: once by their id, refused over their limit, replaced days, faults on demand."""

import io
import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from google.api_core.exceptions import BadRequest, Conflict, Forbidden, GoogleAPICallError, NotFound
from google.cloud import bigquery
from google.cloud.bigquery import QueryJobConfig

from tests.bigquery_rest.conftest import COLUMNS, DAY, PROJECT, QUICK, Ask, parquet_of
from tests.bigquery_rest.faults import Fault
from tests.bigquery_rest.server import Running

Load = Callable[..., bigquery.LoadJob]
TRUNCATE = "WRITE_TRUNCATE"


def replace_day(disposition: str) -> QueryJobConfig:
    return QueryJobConfig(
        destination=f"{PROJECT}.bill.costs$20241101",
        write_disposition=disposition,
        create_disposition="CREATE_NEVER",
        default_dataset=f"{PROJECT}.bill",
    )


def test_a_job_is_done_once_by_its_id(client: bigquery.Client, ask: Ask) -> None:
    ask("CREATE TABLE t AS SELECT 1 AS x")
    first = client.query("INSERT INTO bill.t (x) VALUES (2)", job_id="load-1", job_retry=None)
    first.result()
    with pytest.raises(Conflict):
        client.query("INSERT INTO bill.t (x) VALUES (2)", job_id="load-1", job_retry=None)
    assert client.get_job("load-1").state == "DONE"
    assert ask("SELECT COUNT(*) FROM t") == [(2,)]
    with pytest.raises(NotFound):
        client.get_job("load-1", location="EU", retry=QUICK)


def test_a_query_replaces_one_day(
    client: bigquery.Client, table: bigquery.Table, load: Load, ask: Ask
) -> None:
    days = [{"day": DAY + timedelta(days=n), "name": "old", "cost": Decimal(n)} for n in (0, 1)]
    load("costs", days)
    sql = "SELECT DATE '2024-11-01' AS day, 'new' AS name, NUMERIC '1.5' AS cost, labels FROM costs"
    job = client.query(sql, job_config=replace_day("WRITE_TRUNCATE_DATA"))
    job.result()
    assert (job.num_dml_affected_rows, job.slot_millis, job.total_bytes_billed) == (
        None,
        7,
        10 << 20,
    )
    assert ask("SELECT day, name, cost FROM costs ORDER BY day, name") == [
        (DAY, "new", Decimal("1.5")),
        (DAY, "new", Decimal("1.5")),
        (DAY + timedelta(days=1), "old", Decimal(1)),
    ]


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT day + 1 AS day, name, cost, labels FROM costs", "different partitions"),
        ("SELECT day, name, CAST(cost AS FLOAT64) AS cost, labels FROM costs", "changed type"),
        ("SELECT day, name, cost, labels, 1 AS more FROM costs", "Cannot add fields"),
    ],
)
def test_a_day_that_does_not_fit_changes_nothing(
    client: bigquery.Client, table: bigquery.Table, load: Load, ask: Ask, sql: str, words: str
) -> None:
    load("costs", [{"day": DAY, "cost": Decimal(1), "labels": [{"key": "k"}]}])
    table_schema = client.get_table(table).schema
    with pytest.raises(GoogleAPICallError, match=words):
        client.query(sql, job_config=replace_day("WRITE_TRUNCATE_DATA")).result()
    assert ask("SELECT cost FROM costs") == [(Decimal(1),)]
    assert client.get_table(table).schema == table_schema


def test_a_query_is_no_proof_that_a_required_column_is_full(
    client: bigquery.Client, table: bigquery.Table
) -> None:
    sql = "SELECT day, name, cost, labels FROM costs"
    with pytest.raises(BadRequest, match="REQUIRED to NULLABLE"):
        client.query(sql, job_config=replace_day("WRITE_TRUNCATE")).result()
    client.query(sql, job_config=replace_day("WRITE_TRUNCATE_DATA")).result()


def test_a_load_says_what_does_not_fit(
    client: bigquery.Client, table: bigquery.Table, load: Load
) -> None:
    job = load("costs$20241101", [{"day": DAY, "cost": Decimal(1)}], write_disposition=TRUNCATE)
    assert job.output_rows == 1
    with pytest.raises(BadRequest, match="different partitions"):
        load("costs$20241102", [{"day": DAY, "cost": Decimal(1)}], write_disposition=TRUNCATE)
    config = bigquery.LoadJobConfig(source_format="PARQUET", schema=COLUMNS)
    with pytest.raises(BadRequest, match="list inference"):
        client.load_table_from_file(parquet_of([]), table.reference, job_config=config).result()
    with pytest.raises(BadRequest, match="reading"):
        client.load_table_from_file(io.BytesIO(b"?"), table.reference, job_config=config).result()


def test_a_small_file_goes_in_one_piece(
    client: bigquery.Client, table: bigquery.Table, ask: Ask
) -> None:
    lines = b'{"day": "2024-11-01", "cost": "0.000000001"}'
    config = bigquery.LoadJobConfig(source_format="NEWLINE_DELIMITED_JSON", schema=COLUMNS)
    file = io.BytesIO(lines)
    client.load_table_from_file(file, table.reference, size=len(lines), job_config=config).result()
    assert client.insert_rows_json(table, [json.loads(lines)]) == []
    assert ask("SELECT SUM(cost) FROM costs") == [(Decimal("0.000000002"),)]


def test_a_day_is_copied(
    client: bigquery.Client, table: bigquery.Table, load: Load, ask: Ask
) -> None:
    load("costs", [{"day": DAY + timedelta(days=n), "cost": Decimal(n)} for n in (0, 1)])
    client.copy_table("bill.costs$20241102", "bill.copy").result()
    assert ask("SELECT day, cost FROM copy") == [(DAY + timedelta(days=1), Decimal(1))]
    assert client.get_table("bill.copy").time_partitioning.field == "day"


def test_rows_are_merged_and_a_script_is_all_or_nothing(ask: Ask, table: bigquery.Table) -> None:
    ask("INSERT INTO costs (day, name, cost) VALUES (DATE '2024-11-01', 'a', 1)")
    ask(
        """MERGE costs AS t
        USING (SELECT DATE '2024-11-01' AS day, 'b' AS name, NUMERIC '2' AS cost) AS s ON FALSE
        WHEN NOT MATCHED THEN INSERT (day, name, cost) VALUES (day, name, cost)
        WHEN NOT MATCHED BY SOURCE AND t.day = DATE '2024-11-01' THEN DELETE"""
    )
    assert ask("SELECT name, cost FROM costs") == [("b", Decimal(2))]
    with pytest.raises(BadRequest):
        ask("BEGIN TRANSACTION; DELETE FROM costs WHERE TRUE; SELECT ERROR('no'); COMMIT")
    assert ask("SELECT COUNT(*) FROM costs") == [(1,)]


def test_a_condition_on_the_partition_reads_less(
    client: bigquery.Client, table: bigquery.Table, load: Load
) -> None:
    load("costs", [{"day": DAY + timedelta(days=n), "cost": Decimal(n)} for n in range(10)])
    whole = dry(client, "SELECT cost FROM bill.costs")
    assert dry(client, "SELECT cost FROM bill.costs WHERE day = DATE '2024-11-01'") < whole
    assert dry(client, "SELECT cost FROM bill.costs WHERE cost < 1") == whole
    assert dry(client, "SELECT * FROM bill.costs") > whole
    limited = QueryJobConfig(maximum_bytes_billed=1 << 20)
    with pytest.raises(GoogleAPICallError, match="bytes billed"):
        client.query("SELECT cost FROM bill.costs", job_config=limited).result()


def dry(client: bigquery.Client, sql: str) -> int:
    job = client.query(sql, job_config=QueryJobConfig(dry_run=True))
    return int(job.total_bytes_processed)


def test_a_dataset_elsewhere_is_not_found(client: bigquery.Client) -> None:
    dataset = bigquery.Dataset(f"{PROJECT}.europe")
    dataset.location = "EU"
    client.create_dataset(dataset)
    client.query("CREATE TABLE europe.t AS SELECT 1 AS x").result()
    with pytest.raises(NotFound, match="location US"):
        client.query("SELECT * FROM europe.t", location="US").result()
    job = client.query("SELECT * FROM europe.t")
    assert (job.location, next(iter(job.result())).x) == ("EU", 1)


@pytest.mark.parametrize("fault", [Fault.BACKEND, Fault.RATE_LIMIT, Fault.INTERNAL])
def test_trouble_that_passes_is_tried_again(
    bigquery_rest: Running, client: bigquery.Client, fault: Fault
) -> None:
    bigquery_rest.fake.faults.plan(fault, method="POST", path="/jobs$", times=2)
    assert next(iter(client.query("SELECT 1 AS x", retry=QUICK).result())).x == 1


@pytest.mark.parametrize("fault", [Fault.QUOTA, Fault.DENIED])
def test_trouble_that_stays_is_told(
    bigquery_rest: Running, client: bigquery.Client, fault: Fault
) -> None:
    bigquery_rest.fake.faults.plan(fault, path="/jobs")
    with pytest.raises(Forbidden):
        client.query("SELECT 1", job_retry=None, retry=QUICK)


def test_a_lost_answer_is_found_by_the_id(
    bigquery_rest: Running, client: bigquery.Client, ask: Ask
) -> None:
    ask("CREATE TABLE t (x INT64)")
    bigquery_rest.fake.faults.plan(Fault.LOST, method="POST", path="/jobs$")
    with pytest.raises(Conflict):
        client.query("INSERT bill.t (x) VALUES (1)", job_id="a", retry=QUICK, job_retry=None)
    client.get_job("a").result()
    assert ask("SELECT COUNT(*) FROM t") == [(1,)]


def test_a_held_job_runs_when_it_is_let_or_is_cancelled(
    bigquery_rest: Running, client: bigquery.Client
) -> None:
    bigquery_rest.fake.jobs.hold(3)
    slow, unwanted = client.query("SELECT 1 AS x"), client.query("SELECT 2")
    late = client.query("SELECT 3", job_config=QueryJobConfig(job_timeout_ms=1))
    assert (slow.state, unwanted.cancel()) == ("PENDING", True)
    with pytest.raises(GoogleAPICallError, match="cancelled"):
        unwanted.result(retry=QUICK, job_retry=None)
    with pytest.raises(GoogleAPICallError, match="timed out"):
        late.result(retry=QUICK, job_retry=None)
    bigquery_rest.fake.jobs.release()
    assert next(iter(slow.result())).x == 1


def test_permissions_are_told(
    bigquery_rest: Running, client: bigquery.Client, table: bigquery.Table
) -> None:
    bigquery_rest.fake.denied.add("bigquery.tables.getData")
    wanted = ["bigquery.tables.get", "bigquery.tables.getData"]
    assert client.test_iam_permissions(table, wanted)["permissions"] == wanted[:1]


def test_a_query_without_an_end_is_cancelled_and_holds_up_nobody(
    client: bigquery.Client, ask: Ask
) -> None:
    numbers = "UNNEST(GENERATE_ARRAY(1, 10000))"
    endless = f"SELECT COUNT(*) FROM {numbers}, {numbers}, {numbers}, {numbers}"  # noqa: S608 - ours
    job = client.query(endless, job_retry=None)
    assert (job.state, ask("SELECT 1")) == ("RUNNING", [(1,)])
    job.cancel()
    with pytest.raises(GoogleAPICallError, match="cancelled"):
        job.result(retry=QUICK, job_retry=None)
