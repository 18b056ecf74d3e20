"""Server time of the dashboard's pages at 1 M runs and 5 M rows of costs, beside an empty page.

    python bench/pages.py [rows] [runs]

The rows of costs are written as a load leaves them, 92 days in 24 services, 600 SKUs and 2,400
pairs of SKU and project; the runs by copies of one. The first view after a load adds up the sums
that are kept beside the rows; every other one has the answer.
"""

import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from statistics import median

import duckdb
from sqlalchemy import text
from sqlglot import exp
from starlette.testclient import TestClient

from convergence.engine.answers import Answers
from convergence.engine.launch import launch
from convergence.engine.onboard import Application, onboard
from convergence.engine.service import Service
from convergence.model.run import LaunchRequest
from convergence.model.source import Grant, Kind, Source
from convergence.server import create_app
from convergence.settings.fields import Settings
from convergence.store import sources
from convergence.warehouse.duckdb.derived import filled
from convergence.warehouse.schemas import load_schema
from convergence.warehouse.sql.cost_queries import SUMMARY_TABLE
from convergence.wiring import build

DAYS = 92
VIEWS, LOADED = 15, 5
BILL = """
INSERT INTO acme.main.billing_cost_daily (billing_account_id, service_id, service_description,
  sku_id, sku_description, usage_start_time, usage_end_time, project_id, project_name,
  location_region, cost, currency, cost_type, credits_total, invoice_month, ingestion_date,
  x_source, x_run_id, x_ingested_at)
SELECT '01AB', 'S' || (k % 24), 'Service ' || (k % 24), 'K' || k, 'Sku ' || k,
  d::TIMESTAMP + to_hours((i % 24)::INT), d::TIMESTAMP + to_hours((i % 24)::INT + 1),
  'proj-' || ((k + i % 4) % 40), 'Project ' || ((k + i % 4) % 40), 'region' || (k % 6),
  ((hash(i) % 1000000) / 100000.0)::DECIMAL(38, 9), 'USD', 'regular', 0,
  strftime(d, '%Y%m'), d, 'p.d.export', 'run', now()
FROM (SELECT i, $first::DATE + (i // $each)::INT AS d, (hash(i // 7) % 600)::INT AS k
      FROM range($rows) t(i))
"""
COPIED = (
    "tenant_id, template, pipeline_id, trigger_type, trigger_by, parameter_hash, template_hash, "
    "worker, is_sample, allow_shrink, parameters, attempt"
)
RUNS = f"""
WITH RECURSIVE n(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n WHERE v < :runs)
INSERT INTO pipeline_runs
  (run_id, run_date, status, created_at, started_at, ended_at, snapshot, {COPIED})
SELECT printf('%08x-0000-4000-8000-000000000000', v), date(run_date, '-' || (v % 900) || ' days'),
  CASE v % 50 WHEN 0 THEN 'FAILED' ELSE 'COMPLETED' END,
  strftime('%Y-%m-%d %H:%M:%S.000000', created_at, '-' || v || ' seconds'),
  strftime('%Y-%m-%d %H:%M:%S.000000', created_at, '-' || v || ' seconds'),
  created_at, '{{}}', {COPIED}
FROM n CROSS JOIN pipeline_runs WHERE run_id = :run_id
"""  # noqa: S608 - names of columns
LOADS = """
WITH RECURSIVE n(v) AS (SELECT 0 UNION ALL SELECT v + 1 FROM n WHERE v < :days)
INSERT INTO loads (load_id, run_id, tenant_id, table_name, day, source, attempt, status,
  content_hash, is_sample, row_count, published_at, totals, source_totals, previous, source_state)
SELECT 'load-' || v, :run_id, 'acme', 'billing_cost_daily', date(:first, '+' || v || ' days'),
  'p.d.export', 1, 'PUBLISHED', '', 0, 1, '2026-01-01 00:00:00.000000', '[]', '[]', '[]', '{}'
FROM n
"""


def main(rows: int, runs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first = prepare(Path(folder), rows, runs)
        service = build(Settings(home=Path(folder), disable_auth=True))
        app = create_app(service, with_worker=False)
        with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 1)) as browser:
            print(f"{rows:,} rows of costs, {runs:,} runs; ms of processor time (by the clock):")
            print("the very first view, the first after a load, others")
            period = f"from={first + timedelta(days=60)}&to={first + timedelta(days=DAYS - 1)}"
            for path in (
                "/nowhere",
                "/?tenant=acme",
                f"/costs?tenant=acme&{period}",
                f"/costs?tenant=acme&{period}&group=sku",
                f"/costs?tenant=acme&{period}&group=sku&filter=service%3DS3",
                f"/costs?tenant=acme&{period}&group=project&filter=service%3DS3&filter=sku%3DK3",
                f"/lineage?tenant=acme&{period}",
                f"/api/v1/costs?tenant_id=acme&{period}&group_by=service",
                f"/api/v1/costs?tenant_id=acme&{period}&group_by=sku,project,day",
                "/runs?tenant=acme",
                "/runs?tenant=acme&status=FAILED",
                "/runs?tenant=acme&before=2020-01-01T00:00:00%2B00:00~x",
                "/runs",
            ):
                first_time = view(browser, path)
                after = [load_and_view(service, browser, path) for _ in range(LOADED)]
                others = [view(browser, path) for _ in range(VIEWS)]
                print(*map(shown, ([first_time], after, others)), path)


def shown(times: list[tuple[float, float]]) -> str:
    worked, took = (median(each) for each in zip(*times, strict=True))
    return f"{worked:7.1f} ({took:7.1f})"


def load_and_view(service: Service, browser: TestClient, path: str) -> tuple[float, float]:
    """As after a load: no answer that was kept is true any more."""
    service.answers = Answers()
    return view(browser, path)


def view(browser: TestClient, path: str) -> tuple[float, float]:
    """Milliseconds of processor time, and by the clock."""
    began, worked = time.perf_counter(), time.process_time()
    answer = browser.get(path, headers={"Accept": "text/html"})
    took = (time.process_time() - worked) * 1000, (time.perf_counter() - began) * 1000
    if answer.status_code != (404 if path == "/nowhere" else 200):
        raise AssertionError(f"{path}: {answer.status_code}")
    return took


def prepare(home: Path, rows: int, runs: int) -> date:
    service = build(Settings(home=home))
    onboard(service, Application(tenant_id="acme", company_name="A", admin_email="a@example.com"))
    run_id = a_run(service)
    first = service.clock.now().date() - timedelta(days=DAYS)
    with service.database.write() as tx:
        tx.connection.execute(text(RUNS), {"runs": runs - 1, "run_id": run_id})
        values = {"run_id": run_id, "first": str(first), "days": DAYS - 1}
        tx.connection.execute(text(LOADS), values)
    service.close()
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{home}/warehouse/acme.duckdb' AS acme")
        connection.execute(BILL, {"first": str(first), "rows": rows, "each": rows // DAYS + 1})
        place = exp.table_(SUMMARY_TABLE, db="main", catalog="acme")
        connection.execute(filled(place, load_schema(SUMMARY_TABLE)).sql("duckdb"))
    return first


def a_run(service: Service) -> str:
    with service.database.write() as tx:
        source = Source(
            table="p.d.gcp_billing_export_v1_X",
            files="/nowhere/*.csv",
            kind=Kind.GCP_STANDARD,
            grants=(Grant(tenant_id="acme"),),
        )
        sources.put(tx, source, now=service.clock.now())
    request = LaunchRequest(tenant_id="acme", template="gcp/cost/cost_billing")
    return launch(service, request).run.run_id


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(*(given + [5_000_000, 1_000_000][len(given) :]))
