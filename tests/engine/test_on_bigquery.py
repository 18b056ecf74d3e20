"""What only a warehouse of jobs does to a run: it is cut off between two of them."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from convergence import wiring
from convergence.engine import costs, reconcile
from convergence.engine.execute import Executor
from convergence.engine.onboard import onboard
from convergence.engine.service import Service
from convergence.model.run import Status
from convergence.settings.fields import Settings
from convergence.store import fleet, runs
from convergence.warehouse.bigquery.publishing import Publishing
from tests.bigquery_rest.fixtures import bigquery_rest, bigquery_server
from tests.bigquery_rest.server import Running
from tests.conftest import application, grant_export
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
