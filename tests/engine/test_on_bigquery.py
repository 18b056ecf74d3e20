"""What only BigQuery does to a tenant: jobs that are cut off between, days that expire."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from convergence import wiring
from convergence.engine import costs, ledger, reconcile
from convergence.engine.ensure import ensure_tables
from convergence.engine.execute import Executor
from convergence.engine.move import move
from convergence.engine.onboard import onboard
from convergence.engine.service import Service
from convergence.model.run import Run, Status
from convergence.model.tenant import WarehouseKind
from convergence.settings.fields import Settings
from convergence.store import fleet, moves, runs
from convergence.warehouse.bigquery.publishing import Publishing
from convergence.warehouse.bigquery.tables import DAY_MS
from convergence.wiring import build
from tests.bigquery_rest.fixtures import bigquery_rest, bigquery_server
from tests.bigquery_rest.server import Running
from tests.conftest import EXPORT, application, grant_export
from tests.engine.test_quality import SHIPPED
from tests.engine.test_sync import run_sync
from tests.exports import export_row, write_rows
from tests.fakes import FakeClock

__all__ = ["bigquery_rest", "bigquery_server"]


class KilledError(BaseException):
    """Nothing that is caught."""


@pytest.fixture
def service(
    bigquery_rest: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Service]:
    monkeypatch.setattr(wiring, "SystemClock", FakeClock)
    settings = Settings(
        home=tmp_path / "home", warehouse="bigquery", bigquery_endpoint=bigquery_rest.url
    )
    made = wiring.build(settings)
    onboard(made, application("acme"))
    grant_export(made, tmp_path / "export" / "*.parquet", "acme")
    yield made
    made.close()


def row(day: int) -> dict[str, object]:
    start = datetime(2024, 11, day, 5, tzinfo=UTC)
    return export_row(usage_start_time=start, usage_end_time=start.replace(hour=6))


def test_who_reads_after_a_crash_leaves_the_load_its_record(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(tmp_path / "export" / "a.parquet", [row(1)])

    def die(*_: object) -> None:
        raise KilledError

    record = Publishing._record
    monkeypatch.setattr(Publishing, "_record", die)
    with pytest.raises(KilledError):
        run_sync(service)
    monkeypatch.setattr(Publishing, "_record", record)
    (proof,) = reconcile.reconciliation(service, "acme", None)
    assert proof.is_equal
    with service.database.read() as tx:
        (run_id,) = fleet.live_runs(tx)
    Executor(service=service, worker="next").walk("acme", run_id)
    with service.database.read() as tx:
        run = runs.get(tx, "acme", run_id)
    assert run.status is Status.COMPLETED, run.error
    recorded = costs.query(service, "acme", "SELECT load_date, row_count FROM x_meta_loads").rows
    shown = costs.query(service, "acme", "SELECT ingestion_date, 1 FROM billing_cost_daily").rows
    assert recorded == shown


def keep(running: Running, service: Service, days: int) -> None:
    """The operator tells the table of the bill so, and BigQuery does it."""
    with running.client("local") as client:
        table = client.get_table("local.acme.billing_cost_daily")
        table.time_partitioning.expiration_ms = days * DAY_MS
        client.update_table(table, ["time_partitioning"])
    running.fake.catalog.now = service.clock.now()


def test_a_proof_is_of_the_days_that_the_table_was_told_to_keep(
    service: Service, bigquery_rest: Running, tmp_path: Path, walk: Callable[..., Run]
) -> None:
    shutil.copytree(SHIPPED, tmp_path / "configs/gcp/cost")
    write_rows(tmp_path / "export" / "a.parquet", [row(day) for day in (2, 3)])
    assert run_sync(service).status is Status.COMPLETED
    keep(bigquery_rest, service, days=3)
    (proof,) = reconcile.reconciliation(service, "acme", None)
    assert (proof.ours.rows, proof.is_equal) == (1, True)
    step = "step_id: check, ps_type: quality.check, table: billing_cost_daily, partition_by: ''"
    run = walk(step)
    assert run.status is Status.COMPLETED, run.error


def test_a_move_leaves_behind_what_the_other_table_does_not_keep(
    service: Service, bigquery_rest: Running, tmp_path: Path
) -> None:
    write_rows(tmp_path / "export" / "a.parquet", [row(day) for day in (2, 3)])
    files = build(Settings(home=tmp_path / "home", disable_auth=True))
    files.clock = FakeClock()
    with closing(files):
        with files.database.write() as tx:
            moves.move(tx, "acme", WarehouseKind.DUCKDB, now=files.clock.now())
        files.warehouse.ensure_dataset("acme")
        ensure_tables(files, "acme")
        assert run_sync(files).status is Status.COMPLETED
        keep(bigquery_rest, service, days=3)
        moved = move(files, service, "acme")
    assert [table.rows for table in moved] == [1, 2]


def test_an_operators_dataset_that_is_lost_is_made_again_whole(
    service: Service, bigquery_rest: Running
) -> None:
    ledger.publish(service)
    with bigquery_rest.client("local") as client:
        client.delete_dataset("local.tenants", delete_contents=True)
    onboard(service, application("globex"))
    while ledger.publish(service):
        pass
    sql = "SELECT tenant_id FROM tenants.tenant_profiles ORDER BY 1"
    assert costs.query(service, None, sql).rows == [("acme",), ("globex",)]


def test_costs_that_two_sources_tell_are_refused_before_they_are_seen(
    service: Service, tmp_path: Path
) -> None:
    write_rows(tmp_path / "export" / "a.parquet", [row(1)])
    write_rows(tmp_path / "other" / "a.parquet", [row(1)])
    grant_export(service, tmp_path / "other" / "*.parquet", "acme", f"{EXPORT}_other")
    assert run_sync(service, source=EXPORT).status is Status.COMPLETED
    run = run_sync(service, source=f"{EXPORT}_other")
    assert (run.status, run.error_code) == (Status.FAILED, "counted_twice")
    bill = costs.query(service, "acme", "SELECT COUNT(*) FROM billing_cost_daily").rows
    assert bill == [(1,)]
