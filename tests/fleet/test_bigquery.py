"""Many processes on PostgreSQL and BigQuery: any of them loads and answers, and one may die."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import httpx2
import pytest
import sqlalchemy as sa

from tests.bigquery_rest.fixtures import bigquery_rest, bigquery_server
from tests.bigquery_rest.server import Running
from tests.exports import export_row
from tests.fleet.machines import ADMIN, ROOT, Fleet, onboard, wait_until
from tests.warehouse.bigquery_exports import Export

__all__ = ["bigquery_rest", "bigquery_server"]
pytestmark = [
    *(pytest.mark.postgres, pytest.mark.kills, pytest.mark.slow),
    pytest.mark.timeout(1200),
]
TABLE = "local.billing.gcp_billing_export_v1_FLEET"
DAYS = (1, 2, 3)
PUBLISH = "cdp_publish_"


@pytest.fixture
def fleet(postgres: str, tmp_path: Path, bigquery_rest: Running) -> Iterator[Fleet]:
    """None of the programs has anything of its own."""
    engine = sa.create_engine(postgres.format("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE bigquery_fleet")
    engine.dispose()
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    fleet = Fleet(
        folder=tmp_path,
        database_url=postgres.format("bigquery_fleet"),
        smtp_url="smtp://127.0.0.1:9",
        settings={"CDP_WAREHOUSE": "bigquery", "BIGQUERY_EMULATOR_HOST": bigquery_rest.url},
    )
    yield fleet
    fleet.kill()


def test_a_worker_dies_as_it_publishes_and_totals_are_exact(
    fleet: Fleet, bigquery_rest: Running, tmp_path: Path
) -> None:
    with bigquery_rest.client("local") as client:
        export = Export(client=client, table=TABLE, scratch=tmp_path)
        export.create()
        export.write([_row(day, "0.000000001") for day in DAYS for _ in range(7)], "first")
        export.write([_row(day, "10.25") for day in DAYS], "late")
    servers = [fleet.serve(), fleet.serve()]
    workers = [fleet.work(), fleet.work()]
    headers = onboard(servers[0].url, "acme")
    source = {"table": TABLE, "tenants": ["acme"]}
    added = httpx2.post(f"{servers[1].url}/api/v1/sources", json=source, headers=ADMIN, timeout=60)
    assert added.status_code < 300, added.text
    bigquery_rest.fake.jobs.hold(ids=PUBLISH)
    asked = httpx2.post(
        f"{servers[1].url}/api/v1/pipelines/run/acme/gcp/cost/cost_sync",
        json={"date": "2025-11-05"},
        headers=headers,
        timeout=60,
    )
    assert asked.status_code == 202, asked.text
    wait_until(lambda: bool(bigquery_rest.fake.jobs.held) or not fleet.live("acme"))
    (run,) = fleet.runs("acme")
    assert run.status == "RUNNING", run.error
    next(worker for worker in workers if run.worker in worker.names).kill()
    bigquery_rest.fake.jobs.release()
    wait_until(lambda: not fleet.live("acme"))
    (run,) = fleet.runs("acme")
    assert (run.status, run.attempt) == ("COMPLETED", 2), run.error
    for server in servers:
        assert _asked(
            server.url, headers, "SELECT SUM(cost), COUNT(*) FROM billing_cost_daily"
        ) == [["30.750000021", 24]]
        per_day = "SELECT load_date, COUNT(DISTINCT load_id), COUNT(*) FROM x_meta_loads GROUP BY 1"
        assert {row[2] for row in _asked(server.url, headers, per_day)} == {1}
    jobs = [job.id for job in bigquery_rest.fake.jobs.all("local") if job.id.startswith(PUBLISH)]
    assert len(jobs) == len(set(jobs))


def _row(day: int, cost: str) -> dict[str, object]:
    start = datetime(2025, 11, day, 5, tzinfo=UTC)
    return export_row(
        usage_start_time=start,
        usage_end_time=start.replace(hour=6),
        export_time=start.replace(hour=9),
        cost=float(Decimal(cost)),
        invoice={"month": "202511", "publisher_type": "GOOGLE"},
    )


def _asked(url: str, headers: dict[str, str], sql: str) -> list[list[object]]:
    answer = httpx2.post(f"{url}/api/v1/query", json={"sql": sql}, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    rows: list[list[object]] = answer.json()["rows"]
    return rows
