"""A publish on BigQuery: once, whatever becomes of its job, its answer and its record."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from convergence.errors import StepInterrupted, Unavailable
from convergence.warehouse.bigquery import faults
from convergence.warehouse.bigquery.access import Clients
from convergence.warehouse.bigquery.jobs import TRIES
from tests.bigquery_rest.faults import Fault
from tests.bigquery_rest.server import Running
from tests.warehouse.on_bigquery import Deliver, Record, Rows, on_bigquery

if TYPE_CHECKING:
    from tests.warehouse.conftest import Tenant


@on_bigquery
def test_a_partition_is_published_by_one_job_that_runs_once(
    tenant: "Tenant",
    make_row: Rows,
    deliver: Deliver,
    make_record: Record,
    bigquery_rest: Running,
) -> None:
    deliver([make_row()])
    staged = tenant.stage()
    tenant.totals(staged)
    bigquery_rest.fake.faults.plan(Fault.LOST, method="POST", path="/jobs$")
    tenant.warehouse.publish(staged, make_record("load-1"))
    assert tenant.rows("SELECT COUNT(*) FROM billing_cost_daily") == [(1,)]
    assert tenant.rows("SELECT load_id FROM x_meta_loads") == [("load-1",)]
    published = [
        job for job in bigquery_rest.fake.jobs.all("local") if job.id.startswith("cdp_publish_")
    ]
    target = published[0].configuration["query"]["destinationTable"]
    assert (len(published), target["tableId"]) == (1, "billing_cost_daily$20251001")


@on_bigquery
def test_a_record_that_a_crash_left_out_is_written_by_who_asks(
    tenant: "Tenant", make_row: Rows, deliver: Deliver, clients: Clients, bigquery_rest: Running
) -> None:
    deliver([make_row()])
    tenant.load()
    clients.of("acme").query("DELETE FROM acme.x_meta_loads WHERE TRUE").result()
    bigquery_rest.fake.jobs.forget("local", "cdp_record_acme_load-1")
    assert tenant.warehouse.is_published("acme", "load-1")
    assert tenant.rows("SELECT load_id, row_count FROM x_meta_loads") == [("load-1", 1)]


def jobs_of(running: Running, kind: str) -> list[str]:
    found = running.fake.jobs.all("local")
    return [job.id for job in found if job.id.startswith(f"cdp_{kind}_")]


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed for a passing reason is tried again at once."""
    monkeypatch.setattr("convergence.warehouse.bigquery.jobs.BACKOFF_SECONDS", 0.001)


@on_bigquery
@pytest.mark.usefixtures("soon")
def test_a_publish_and_its_record_outlast_failures_that_pass_and_are_done_once(
    tenant: "Tenant", make_row: Rows, deliver: Deliver, bigquery_rest: Running
) -> None:
    deliver([make_row()])
    jobs = bigquery_rest.fake.jobs
    for kind in ("publish", "record"):
        jobs.fail(Fault.QUOTA, ids=f"cdp_{kind}_", times=2)
    tenant.load()
    assert tenant.rows("SELECT cost FROM billing_cost_daily") == [(Decimal("1.25"),)]
    assert tenant.rows("SELECT load_id FROM x_meta_loads") == [("load-1",)]
    assert len(jobs_of(bigquery_rest, "publish")) == len(jobs_of(bigquery_rest, "record")) == 3


@on_bigquery
@pytest.mark.usefixtures("soon")
def test_a_record_that_could_not_be_written_is_written_when_it_can(
    tenant: "Tenant", make_row: Rows, deliver: Deliver, bigquery_rest: Running
) -> None:
    deliver([make_row()])
    bigquery_rest.fake.jobs.fail(Fault.RATE_LIMIT, ids="cdp_record_", times=2 * TRIES)
    with pytest.raises(StepInterrupted):
        tenant.load()
    with pytest.raises(Unavailable):
        tenant.warehouse.is_published("acme", "load-1")
    assert tenant.warehouse.is_published("acme", "load-1")
    assert tenant.rows("SELECT load_id FROM x_meta_loads") == [("load-1",)]


@on_bigquery
def test_what_was_not_published_when_it_was_asked_for_never_will_be(
    tenant: "Tenant", make_row: Rows, deliver: Deliver, make_record: Record
) -> None:
    deliver([make_row()])
    staged = tenant.stage()
    tenant.totals(staged)
    assert not tenant.warehouse.is_published("acme", "load-1")
    assert not tenant.warehouse.is_published("acme", "load-1")
    with pytest.raises(StepInterrupted, match="given up"):
        tenant.warehouse.publish(staged, make_record("load-1"))
    assert tenant.rows("SELECT COUNT(*) FROM billing_cost_daily") == [(0,)]


@on_bigquery
def test_who_only_reads_neither_stops_a_publish_nor_waits_for_it(
    tenant: "Tenant",
    make_row: Rows,
    deliver: Deliver,
    make_record: Record,
    bigquery_rest: Running,
) -> None:
    deliver([make_row()])
    staged = tenant.stage()
    tenant.totals(staged)
    assert not tenant.warehouse.is_visible("acme", "load-1")
    bigquery_rest.fake.jobs.hold(ids="cdp_publish_")
    with ThreadPoolExecutor(1) as pool:
        published = pool.submit(tenant.warehouse.publish, staged, make_record("load-1"))
        bigquery_rest.fake.jobs.wait_held()
        assert not tenant.warehouse.is_visible("acme", "load-1")
        bigquery_rest.fake.jobs.release()
        published.result()
    assert tenant.warehouse.is_visible("acme", "load-1")
    assert tenant.rows("SELECT COUNT(*) FROM billing_cost_daily") == [(1,)]


@on_bigquery
def test_a_publish_that_runs_is_waited_for_by_who_asks(
    tenant: "Tenant",
    make_row: Rows,
    deliver: Deliver,
    make_record: Record,
    bigquery_rest: Running,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deliver([make_row()])
    staged = tenant.stage()
    tenant.totals(staged)
    quick = faults.RETRY.with_timeout(0.01)
    monkeypatch.setattr("convergence.warehouse.bigquery.jobs.RETRY", quick)
    bigquery_rest.fake.jobs.hold(ids="cdp_publish_")
    bigquery_rest.fake.faults.plan(Fault.BACKEND, method="GET", path="/jobs/cdp_publish", times=9)
    with pytest.raises(StepInterrupted):
        tenant.warehouse.publish(staged, make_record("load-1"))
    bigquery_rest.fake.faults.clear()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(tenant.warehouse.is_published, "acme", "load-1")
        assert not asked.done()
        bigquery_rest.fake.jobs.release()
        assert asked.result(60)
    assert tenant.rows("SELECT COUNT(*) FROM billing_cost_daily") == [(1,)]


@pytest.mark.slow
@on_bigquery
def test_without_partitions_a_day_is_replaced_in_a_transaction(
    tenant: "Tenant",
    make_row: Rows,
    deliver: Deliver,
    bigquery_rest: Running,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("convergence.warehouse.bigquery.capability.WAYS", ())
    for number in (1, 2):
        deliver([make_row(cost=float(number))])
        tenant.load(load_id=f"load-{number}", run_id=f"run-{number}")
    assert tenant.rows("SELECT cost FROM billing_cost_daily") == [(2,)]
    assert tenant.warehouse.is_published("acme", "load-2")
    scripts = [
        job.configuration["query"]["query"]
        for job in bigquery_rest.fake.jobs.all("local")
        if job.id.startswith("cdp_publish_")
    ]
    assert all(script.startswith("BEGIN TRANSACTION;") for script in scripts)
