"""What BigQuery alone can do wrong to a load: each is told, and the old rows stay."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from google.cloud.bigquery import SchemaField

from convergence.errors import Invalid, StepFailed, StepInterrupted, Unavailable, WarehouseError
from convergence.model import drift
from convergence.model.cancel import CancelToken
from convergence.model.source import GrantedSource, Kind
from convergence.model.table import Column, Mode
from convergence.warehouse.base import Upsert, Warehouse
from convergence.warehouse.bigquery import faults, sources
from convergence.warehouse.bigquery.access import Access, Clients
from convergence.warehouse.bigquery.answer import answer_file
from convergence.warehouse.bigquery.faults import said
from convergence.warehouse.bigquery.jobs import ByteLimit
from convergence.warehouse.bigquery.sources import Export, Sight
from convergence.warehouse.bigquery.warehouse import BigqueryWarehouse
from convergence.warehouse.errand import Errand, on_errand
from convergence.warehouse.question import FileForm, QueryLimits
from convergence.warehouse.schemas import gcp_export, load_schema
from tests.bigquery_rest.faults import Fault
from tests.bigquery_rest.server import Running
from tests.fakes import FakeClock
from tests.warehouse.on_bigquery import DAY, NOW, Deliver, Rows, on_bigquery

if TYPE_CHECKING:
    from tests.warehouse.conftest import Tenant


def bounds(sight: Sight) -> str:
    """The conditions under which a source is read."""
    where = sources.relation(sight, gcp_export().columns[:1]).args["where"]
    return str(where.this.sql("bigquery"))


@pytest.fixture
def exported() -> Export:
    return Export(
        project="p",
        dataset="billing",
        table="gcp_billing_export_v1_X",
        columns=gcp_export().columns,
        by_arrival=True,
        keeps_past=True,
        bytes=0,
    )


def test_a_day_reads_no_partition_that_is_older(exported: Export) -> None:
    source = GrantedSource(table=exported.name, files=None, kind=Kind.AUTO)
    text = bounds(Sight(source=source, exports=(exported,), day=DAY))
    assert text == (
        "_PARTITIONTIME >= CAST('2025-09-29 00:00:00+00:00' AS TIMESTAMP)"
        " AND (`usage_start_time` >= CAST('2025-10-01 00:00:00+00:00' AS TIMESTAMP)"
        " AND `usage_start_time` < CAST('2025-10-02 00:00:00+00:00' AS TIMESTAMP))"
    )


def test_a_day_that_was_surveyed_reads_its_partitions_alone(exported: Export) -> None:
    source = GrantedSource(table=exported.name, files=None, kind=Kind.AUTO)
    units = frozenset({f"{exported.name}$20251002", f"{exported.name}$20260105"})
    text = bounds(Sight(source=source, exports=(exported,), day=DAY, units=units))
    assert text.startswith(
        "_PARTITIONTIME IN (CAST('2025-10-02 00:00:00+00:00' AS TIMESTAMP), "
        "CAST('2026-01-05 00:00:00+00:00' AS TIMESTAMP)) AND "
    )


def test_a_grant_is_part_of_what_is_read(exported: Export) -> None:
    source = GrantedSource(table=exported.name, files=None, kind=Kind.AUTO, project_ids=("web",))
    text = bounds(Sight(source=source, exports=(exported,)))
    assert text == "`project`.`id` IN ('web')"


@pytest.mark.parametrize(
    ("reason", "message", "code"),
    [
        ("accessDenied", "Access Denied: Table p:d.t", "warehouse_forbidden"),
        ("notFound", "Not found: Dataset p:d was not found in location EU", "dataset_not_found"),
        ("notFound", "Not found: Table p:d.t", "table_not_found"),
        ("notFound", "Not found: Job p:EU.j", "job_not_found"),
        ("bytesBilledLimitExceeded", "Query exceeded limit for bytes billed", "byte_limit"),
        ("quotaExceeded", "Quota exceeded: too many updates", "warehouse_quota"),
        ("backendError", "Error encountered during execution", "warehouse_busy"),
        ("resourcesExceeded", "Resources exceeded", "query_too_large"),
        ("invalidQuery", "Unrecognized name: nope at [1:8]", "sql_failed"),
        ("somethingNew", "Nobody knows", "warehouse_error"),
    ],
)
def test_each_reason_has_a_code_and_says_what_to_do(reason: str, message: str, code: str) -> None:
    error = said(reason, message)
    assert error.code == code
    assert message.partition(" at [")[0] in error.detail
    assert error.hint


@on_bigquery
def test_a_statement_over_its_limit_of_bytes_is_not_begun(
    tenant: "Tenant", make_row: Rows, deliver: Deliver
) -> None:
    deliver([make_row()])
    with on_errand(Errand(max_bytes=1)), pytest.raises(StepFailed) as caught:
        tenant.stage()
    assert caught.value.code == "byte_limit"


@on_bigquery
def test_the_smallest_limit_of_bytes_is_told_with_its_owner_before_a_load_begins(
    tenant: "Tenant", make_row: Rows, deliver: Deliver, clients: Clients
) -> None:
    deliver([make_row()])
    limits = [ByteLimit(10**12, "the process", "ask them"), ByteLimit(2, "the tenant", "ask us")]
    limited = BigqueryWarehouse(clients, now=lambda: NOW, limits=lambda _: limits)
    with pytest.raises(StepFailed, match=r"[0-9,]+ bytes, and the tenant allows 2") as caught:
        limited.explain_load(tenant.request())
    assert caught.value.hint == "ask for fewer days or columns, or ask us"


@pytest.mark.slow
@on_bigquery
def test_trouble_that_passes_is_outlasted_and_told_when_it_stays(
    tenant: "Tenant",
    make_row: Rows,
    deliver: Deliver,
    bigquery_rest: Running,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deliver([make_row()])
    bigquery_rest.fake.faults.plan(Fault.BACKEND, method="POST", path="/jobs$")
    tenant.load()
    quick = faults.RETRY.with_timeout(0.2).with_delay(0.01, 0.05)
    monkeypatch.setattr("convergence.warehouse.bigquery.jobs.RETRY", quick)
    bigquery_rest.fake.faults.plan(Fault.RATE_LIMIT, method="POST", path="/jobs$", times=1000)
    with pytest.raises(StepInterrupted) as caught:
        tenant.stage()
    assert caught.value.code == "warehouse_quota"


@on_bigquery
def test_a_job_that_takes_too_long_is_broken_off_and_the_day_fails_alone(
    tenant: "Tenant", make_row: Rows, deliver: Deliver, clients: Clients, bigquery_rest: Running
) -> None:
    deliver([make_row()])
    impatient = BigqueryWarehouse(clients, now=lambda: NOW, job_seconds=0.2)
    bigquery_rest.fake.jobs.hold()
    with pytest.raises(StepFailed) as caught:
        impatient.stage(tenant.request(), CancelToken())
    assert caught.value.code == "query_timeout"
    job = bigquery_rest.fake.jobs.all("local")[0]
    assert job.error is not None
    assert job.error.reason in {"stopped", "timeout"}


@on_bigquery
def test_a_day_older_than_its_table_keeps_is_not_loaded_to_vanish(
    tenant: "Tenant",
    make_row: Rows,
    deliver: Deliver,
    clients: Clients,
    bigquery_rest: Running,
) -> None:
    deliver([make_row()])
    gone = datetime.combine(DAY, datetime.min.time(), UTC) + timedelta(days=730)
    clock, catalog = FakeClock(gone - timedelta(seconds=1)), bigquery_rest.fake.catalog
    late = replace(tenant, warehouse=BigqueryWarehouse(clients, now=clock.now))
    catalog.now = clock.now()
    late.load()
    assert late.rows("SELECT COUNT(*) FROM billing_cost_daily") == [(1,)]
    clock.advance(seconds=1)
    catalog.now = clock.now()
    assert late.rows("SELECT COUNT(*) FROM billing_cost_daily") == [(0,)]
    with pytest.raises(StepFailed, match="keeps 730 days") as caught:
        late.stage()
    assert caught.value.code == "day_expired"


@on_bigquery
def test_a_question_to_staged_rows_is_answered_whole(
    tenant: "Tenant", make_row: Rows, deliver: Deliver
) -> None:
    deliver([make_row()])
    numbers = "UNNEST(GENERATE_ARRAY(1, 200)) AS a, UNNEST(GENERATE_ARRAY(1, 51)) AS b"
    sql = f"SELECT a FROM billing_cost_daily, {numbers}"  # noqa: S608 - a constant
    found = tenant.warehouse.look(tenant.stage(), sql, CancelToken())
    assert (len(found.rows), found.truncated) == (10_200, False)


@on_bigquery
def test_a_table_that_was_told_to_keep_less_is_believed(
    tenant: "Tenant", make_row: Rows, deliver: Deliver, clients: Clients
) -> None:
    deliver([make_row()])
    table = clients.of("").get_table("local.acme.billing_cost_daily")
    table.time_partitioning.expiration_ms = 24 * 3600 * 1000
    clients.of("").update_table(table, ["time_partitioning"])
    with pytest.raises(StepFailed, match="keeps 1 days"):
        tenant.stage()


@on_bigquery
def test_a_column_with_a_default_comes_to_streamed_rows_when_they_can_be_changed(
    tenant: "Tenant", bigquery_rest: Running
) -> None:
    warehouse, schema = tenant.warehouse, load_schema("x_meta_step_logs")
    row = dict.fromkeys(schema.column_names) | {
        column.name: _some(column) for column in schema.columns if column.mode is Mode.REQUIRED
    }
    warehouse.upsert("acme", schema, schema.key, [row])
    wider = replace(
        schema, columns=(*schema.columns, Column(name="x_new", type="INT64", default="7"))
    )
    with pytest.raises(WarehouseError, match="streamed just now"):
        warehouse.evolve("acme", wider)
    assert drift.compare(wider, warehouse.live("acme", wider))
    bigquery_rest.fake.catalog.flush()
    warehouse.evolve("acme", wider)
    assert not drift.compare(wider, warehouse.live("acme", wider))
    assert tenant.rows("SELECT x_new FROM x_meta_step_logs") == [(7,)]


def _some(column: Column) -> object:
    return {"INT64": 1, "BOOL": True, "TIMESTAMP": NOW, "DATE": DAY}.get(column.type, "x")


@on_bigquery
def test_an_answer_as_a_file_holds_json_as_json_and_may_have_no_rows(
    tenant: "Tenant", make_row: Rows, deliver: Deliver
) -> None:
    deliver([make_row()])
    tenant.load()
    sql = "SELECT load_id, totals FROM x_meta_loads"
    small = QueryLimits(file_bytes=1)
    with pytest.raises(Invalid, match="takes more than 8 bytes"):
        tenant.warehouse.export(tenant.scope, sql, FileForm.JSONL, small)

    def lines(sql: str) -> list[dict[str, Any]]:
        limits = QueryLimits()
        with tenant.warehouse.export(tenant.scope, sql, FileForm.JSONL, limits) as file:
            return [json.loads(line) for line in file]

    ((totals,),) = [[line["totals"] for line in lines(sql)]]
    assert totals[0]["rows"] == 1
    assert lines(f"{sql} WHERE FALSE") == []


def test_an_answer_in_no_parts_at_all_is_a_file_with_its_columns() -> None:
    class Answer:
        """As the Storage Read API gives one without rows."""

        schema = (SchemaField("cost", "NUMERIC"),)

        def to_arrow_iterable(self, **_: object) -> Iterator[object]:
            return iter(())

        def to_arrow(self, **_: object) -> object:
            return pa.table({"cost": pa.array([], pa.decimal128(38, 9))})

    class Job:
        def result(self, **_: object) -> Answer:
            return Answer()

    with answer_file(Job(), FileForm.CSV, None) as file:  # type: ignore[arg-type] # what is asked of one
        assert file.read() == b"cost\n"


@pytest.mark.parametrize(
    "trouble",
    [(Fault.DENIED, "POST", "warehouse_forbidden"), (Fault.GONE, "GET", "job_not_found")],
    ids=["permission", "job"],
)
@on_bigquery
def test_a_missing_permission_and_a_lost_job_are_named_and_old_rows_stay(
    tenant: "Tenant",
    make_row: Rows,
    deliver: Deliver,
    bigquery_rest: Running,
    trouble: tuple[Fault, str, str],
) -> None:
    fault, method, code = trouble
    deliver([make_row()])
    tenant.load()
    deliver([make_row(), make_row()])
    bigquery_rest.fake.jobs.hold()
    bigquery_rest.fake.faults.plan(fault, method=method, path=r"/jobs(/cdp_\w+)?$")
    with pytest.raises(StepFailed) as caught:
        tenant.stage()
    assert (caught.value.code, bool(caught.value.hint)) == (code, True)
    bigquery_rest.fake.jobs.release()
    assert tenant.rows("SELECT COUNT(*) FROM billing_cost_daily") == [(1,)]


@on_bigquery
def test_a_dataset_in_another_place_is_told(warehouse: Warehouse, bigquery_rest: Running) -> None:
    warehouse.ensure_dataset("acme")
    elsewhere = Clients(
        "local", location="US", access_of=lambda _: Access(), endpoint=bigquery_rest.url
    )
    with pytest.raises(WarehouseError, match="acme is in EU, not in US") as caught:
        BigqueryWarehouse(elsewhere, now=lambda: NOW).ensure_dataset("acme")
    assert caught.value.code == "wrong_location"


@on_bigquery
def test_questions_say_that_the_tables_are_gone_and_not_that_they_were_wrong(
    tenant: "Tenant", clients: Clients
) -> None:
    ask = "SELECT COUNT(*) FROM billing_cost_daily"
    clients.of("").delete_table("local.acme.billing_cost_daily")
    with pytest.raises(Unavailable, match="tables are gone"):
        tenant.rows(ask)
    with pytest.raises(Invalid, match="nowhere"):
        tenant.rows("SELECT 1 FROM nowhere")
    tenant.warehouse.drop_dataset("acme")
    with pytest.raises(Unavailable, match="tables are gone"):
        tenant.rows(ask)


@on_bigquery
def test_a_source_that_is_not_there_is_named(tenant: "Tenant", clients: Clients) -> None:
    table = tenant.scope.sources[0].table
    clients.of("").delete_table(table)
    with pytest.raises(StepFailed, match="gcp_billing_export_resource") as caught:
        tenant.stage()
    assert caught.value.code == "source_missing"


@on_bigquery
def test_what_a_job_cost_is_noted_for_whom_it_was_done(
    tenant: "Tenant", make_row: Rows, deliver: Deliver
) -> None:
    deliver([make_row()])
    with on_errand(Errand(labels={"tenant": "acme"})) as errand:
        tenant.load()
    facts = errand.facts()
    assert facts["bytes_billed"] > 0
    assert any(job.startswith("cdp_publish_acme_load-1") for job in facts["jobs"])


@on_bigquery
def test_of_two_publishers_the_one_that_saw_more_holds(tenant: "Tenant") -> None:
    row: dict[str, object] = {
        "pipeline_logging_id": "run-1",
        "pipeline_id": "p",
        "tenant_id": "acme",
    }
    row |= {"trigger_type": "api", "trigger_by": "me", "start_time": NOW}

    def publish(status: str, seen_at: datetime) -> None:
        schema = load_schema("x_meta_pipeline_runs")
        upsert = Upsert(
            schema=schema, key=("pipeline_logging_id",), rows=[row | {"status": status}]
        )
        tenant.warehouse.upsert_all("acme", [upsert], seen_at=seen_at)

    publish("COMPLETED", NOW)
    publish("RUNNING", NOW - timedelta(milliseconds=1))
    assert tenant.rows("SELECT status FROM x_meta_pipeline_runs") == [("COMPLETED",)]
