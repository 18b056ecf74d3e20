"""Files on their way to BigQuery: what arrives is what they hold, and nothing is left behind."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from google.cloud.bigquery import client as google

from convergence.errors import Cancelled, Invalid, StepFailed, StepInterrupted
from convergence.model.cancel import CancelToken
from convergence.warehouse.bigquery.access import Clients
from convergence.warehouse.question import FileForm, QueryLimits
from tests.bigquery_rest.faults import Fault
from tests.bigquery_rest.server import Running
from tests.warehouse.on_bigquery import Rows

if TYPE_CHECKING:
    from tests.warehouse.conftest import Tenant

Write = Callable[..., Path]
pytestmark = pytest.mark.parametrize("adapter", ["bigquery_files"], indirect=True)
SUMS = "SELECT COUNT(*), SUM(cost), SUM(credits_total) FROM billing_cost_daily"


def jobs_of(running: Running, kind: str) -> list[str]:
    found = running.fake.jobs.all("local")
    return [job.id for job in found if job.id.startswith(f"cdp_{kind}_")]


def tables_left(clients: Clients) -> list[str]:
    listed = clients.of("").list_tables("local.acme")
    return [item.table_id for item in listed if item.table_id.startswith("x_staged_")]


@pytest.fixture(params=["POST", "PUT"])
def method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the rows are sent: in one request, or, where they are many, in parts."""
    if request.param == "PUT":
        monkeypatch.setattr(google, "_MAX_MULTIPART_SIZE", 1)
    return str(request.param)


def test_rows_go_over_once_when_the_answer_is_lost(
    tenant: "Tenant",
    make_row: Rows,
    write_parquet: Write,
    bigquery_rest: Running,
    clients: Clients,
    method: str,
) -> None:
    write_parquet([make_row(), make_row(cost=0.1)])
    bigquery_rest.fake.faults.plan(Fault.LOST, method=method, path="^/upload/")
    totals = tenant.load()
    assert totals.source == totals.loaded
    assert tenant.rows(SUMS) == [(2, Decimal("1.35"), Decimal("-0.5"))]
    assert (len(jobs_of(bigquery_rest, "upload")), tables_left(clients)) == (1, [])


def test_an_upload_outlasts_failures_that_pass_and_leaves_nothing_after_others(
    tenant: "Tenant",
    make_row: Rows,
    write_parquet: Write,
    bigquery_rest: Running,
    clients: Clients,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("convergence.warehouse.bigquery.jobs.BACKOFF_SECONDS", 0.001)
    write_parquet([make_row()])
    bigquery_rest.fake.jobs.fail(Fault.BACKEND, ids="cdp_upload_", times=2)
    tenant.load()
    bigquery_rest.fake.jobs.fail(Fault.DENIED, ids="cdp_upload_")
    with pytest.raises(StepFailed, match="does not permit"):
        tenant.load(load_id="load-2")
    assert tenant.rows("SELECT load_id FROM x_meta_loads") == [("load-1",)]
    assert tables_left(clients) == []


def test_an_upload_ends_where_it_is_when_its_token_is_tripped(
    tenant: "Tenant",
    make_row: Rows,
    write_parquet: Write,
    bigquery_rest: Running,
    clients: Clients,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cancel = CancelToken()

    def trip(_: str) -> dict[str, str]:
        cancel.trip(Cancelled("enough"))
        return {}

    write_parquet([make_row()])
    monkeypatch.setattr("convergence.warehouse.bigquery.importing.labels_of", trip)
    with pytest.raises(Cancelled, match="enough"):
        tenant.warehouse.stage(tenant.request(), cancel)
    assert (jobs_of(bigquery_rest, "upload"), tables_left(clients)) == ([], [])


def test_a_file_that_changes_as_its_rows_go_over_can_be_tried_again(
    tenant: "Tenant", make_row: Rows, write_parquet: Write, bigquery_rest: Running
) -> None:
    write_parquet([make_row()])
    jobs = bigquery_rest.fake.jobs
    jobs.hold(ids="cdp_upload_")
    with ThreadPoolExecutor(1) as pool:
        staged = pool.submit(tenant.stage)
        jobs.wait_held()
        write_parquet([make_row(), make_row()])
        jobs.release()
        with pytest.raises(StepInterrupted, match=r"changed while it was read: .*day\.parquet"):
            staged.result()


def test_a_list_with_nothing_in_it_arrives_without_that(
    tenant: "Tenant", make_row: Rows, write_parquet: Write
) -> None:
    credit = make_row()["credits"][0]
    write_parquet([make_row(credits=[None, credit], labels=None, tags=[])])
    tenant.load()
    (row,) = tenant.rows("SELECT credits_total, labels_json, x_tags_json FROM billing_cost_daily")
    assert row == (Decimal("-0.25"), "[]", "[]")


def test_a_plan_tells_of_files_and_brings_nothing(
    tenant: "Tenant", make_row: Rows, write_parquet: Write, bigquery_rest: Running
) -> None:
    path = write_parquet([make_row()])
    plan = tenant.warehouse.explain_load(tenant.request())
    size = path.stat().st_size
    (read,) = plan.reads
    assert (read.files, read.matched, read.bytes, plan.bytes) == (1, 1, size, size)
    assert "those of the files" in plan.notes[0]
    assert jobs_of(bigquery_rest, "upload") == []


def test_a_question_about_files_is_answered_where_they_are(
    tenant: "Tenant", make_row: Rows, write_parquet: Write, bigquery_rest: Running
) -> None:
    write_parquet([make_row(), make_row(cost=1e-9)])
    table = tenant.scope.sources[0].table
    before = len(bigquery_rest.fake.requests)
    sql = f"SELECT SUM(cost) AS total FROM `{table}`"  # noqa: S608 - a name of ours
    assert tenant.rows(sql) == [(Decimal("1.250000001"),)]
    told = tenant.warehouse.explain(tenant.scope, sql)
    assert (told.bytes, table in told.statement) == (None, True)
    limits = QueryLimits()
    with tenant.warehouse.export(tenant.scope, sql, FileForm.JSONL, limits) as file:
        assert json.loads(file.read()) == {"total": "1.250000001"}
    unknown = replace(tenant.scope, datasets=frozenset({"not_there"}))
    assert tenant.warehouse.query(unknown, sql, limits).rows == [(Decimal("1.250000001"),)]
    assert len(bigquery_rest.fake.requests) == before
    with pytest.raises(Invalid, match="is files, and the statement reads tables beside it"):
        tenant.rows(f"SELECT 1 FROM `{table}`, billing_cost_daily")  # noqa: S608 - the same


def test_a_tenant_is_not_told_where_the_files_are(tenant: "Tenant", exports: Path) -> None:
    exports.mkdir(parents=True, exist_ok=True)
    (exports / "bad.parquet").write_bytes(b"PAR1 this is not Parquet")
    with pytest.raises(Invalid, match=r"bad\.parquet") as caught:
        tenant.rows(f"SELECT 1 FROM `{tenant.scope.sources[0].table}`")  # noqa: S608 - a name of ours
    assert str(exports) not in f"{caught.value.detail} {caught.value.hint}"


def test_files_without_rows_of_the_day_and_no_files_at_all_are_told_apart(
    tenant: "Tenant", make_row: Rows, write_parquet: Write, exports: Path
) -> None:
    totals = tenant.totals(tenant.stage())
    assert (totals.rows, totals.matched) == (0, frozenset())
    early = make_row()["usage_start_time"].replace(year=2024)
    path = write_parquet([make_row(usage_start_time=early)])
    totals = tenant.load()
    assert (totals.rows, len(totals.source or ())) == (0, 0)
    assert totals.matched == {str(path)}
