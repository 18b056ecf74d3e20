"""Every query that the source documents print, verbatim."""

from collections.abc import Iterator
from decimal import Decimal

import duckdb
import pytest
from sqlglot import exp

from convergence.warehouse.question import Scope
from convergence.warehouse.sql.dialect import to_duckdb
from convergence.warehouse.sql.names import TableKind, TableRef, resolve
from convergence.warehouse.sql.statement import parse

TENANT = "docker_customer_3434x4"
SCOPE = Scope(project="gac-prod-471220", tenant_id=TENANT, datasets=frozenset({TENANT}))
SEEDS = """
CREATE SCHEMA tenants;
CREATE TABLE main.x_meta_pipeline_runs AS SELECT 'r1' AS pipeline_logging_id, 'p' AS pipeline_id,
  'COMPLETED' AS status, 'x' AS trigger_by,
  now() - INTERVAL 90 SECOND AS start_time, now() AS end_time;
CREATE TABLE main.x_meta_step_logs AS SELECT 's1' AS step_id, 'extract' AS step_name,
  'COMPLETED' AS status, 5 AS row_count, NULL AS error_message,
  now() - INTERVAL 1500 MILLISECOND AS start_time, now() AS end_time;
CREATE TABLE main.billing_cost_daily AS SELECT 'a' AS billing_account_id, 's' AS service_id,
  0.000173::DECIMAL(38,9) AS cost, TIMESTAMPTZ '2024-11-01 00:00:00+00' AS usage_start_time,
  TIMESTAMPTZ '2024-11-01 01:00:00+00' AS usage_end_time, DATE '2024-11-01' AS ingestion_date;
CREATE TABLE tenants.tenant_usage_quotas AS SELECT 'docker_customer_3434x4' AS tenant_id,
  CAST(current_date + CAST(later AS INTEGER) AS DATE) AS usage_date,
  2 AS pipelines_run_today, 6 AS daily_limit,
  1 AS max_concurrent_reached,
  1 AS concurrent_pipelines_running, 3 AS concurrent_limit
  FROM range(2) days(later);
"""
PRINTED = [
    (
        """SELECT
  pipeline_logging_id,
  pipeline_id,
  status,
  TIMESTAMP_DIFF(end_time, start_time, SECOND) as duration_seconds,
  trigger_by,
  start_time
FROM `gac-prod-471220.docker_customer_3434x4.x_meta_pipeline_runs`
WHERE DATE(start_time) >= CURRENT_DATE() - 7
ORDER BY start_time DESC""",
        {3: 90},
    ),
    (
        """SELECT
  step_id,
  step_name,
  status,
  TIMESTAMP_DIFF(end_time, start_time, SECOND) as duration_seconds,
  row_count,
  error_message,
  start_time
FROM `gac-prod-471220.docker_customer_3434x4.x_meta_step_logs`
WHERE DATE(start_time) >= CURRENT_DATE() - 1
ORDER BY start_time DESC""",
        {3: 1, 4: 5},
    ),
    (
        """SELECT
  COUNT(*) as total_rows,
  COUNT(DISTINCT billing_account_id) as billing_accounts,
  COUNT(DISTINCT service_id) as services,
  SUM(cost) as total_cost,
  MIN(usage_start_time) as earliest_usage,
  MAX(usage_end_time) as latest_usage
FROM `gac-prod-471220.docker_customer_3434x4.billing_cost_daily`
WHERE DATE(ingestion_date) = '2024-11-01'""",
        {0: 1, 1: 1, 2: 1, 3: Decimal("0.000173")},
    ),
    (
        """SELECT
  tenant_id,
  usage_date,
  pipelines_run_today,
  daily_limit,
  concurrent_pipelines_running,
  concurrent_limit,
  (daily_limit - pipelines_run_today) as remaining_daily,
  (concurrent_limit - concurrent_pipelines_running) as remaining_concurrent
FROM `gac-prod-471220.tenants.tenant_usage_quotas`
WHERE tenant_id = 'docker_customer_3434x4'
  AND usage_date = CURRENT_DATE()""",
        {6: 4, 7: 2},
    ),
    (
        """
  SELECT * FROM `gac-prod-471220.tenants.tenant_usage_quotas`
  WHERE tenant_id = "docker_customer_3434x4"
""",
        {0: TENANT},
    ),
    (
        """
  SELECT * FROM `gac-prod-471220.tenants.tenant_usage_quotas`
  WHERE tenant_id = "docker_customer_3434x4"
  AND usage_date = CURRENT_DATE()
""",
        {2: 2},
    ),
    (
        """SELECT column_name FROM gac-prod-471220.tenants.INFORMATION_SCHEMA.COLUMNS
          WHERE table_name = 'tenant_usage_quotas' ORDER BY ordinal_position""",
        {0: "tenant_id"},
    ),
    (
        """SELECT tenant_id, concurrent_pipelines_running, max_concurrent_reached
          FROM gac-prod-471220.tenants.tenant_usage_quotas
          WHERE usage_date = CURRENT_DATE()""",
        {0: TENANT, 1: 1, 2: 1},
    ),
]


def place(ref: TableRef) -> exp.Expr:
    schema = "tenants" if ref.kind is TableKind.CENTRAL else "main"
    return exp.table_(ref.table, db=schema, catalog=TENANT, quoted=True)


@pytest.fixture(scope="module")
def documented() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"async_threads": 1}) as connection:
        connection.execute("SET GLOBAL TimeZone='UTC'")
        connection.execute(f"ATTACH ':memory:' AS {TENANT}")
        connection.execute(f"USE {TENANT}")
        connection.execute(SEEDS)
        yield connection


@pytest.mark.parametrize(("sql", "values"), PRINTED)
def test_every_query_that_the_source_documents_print_runs_verbatim(
    sql: str, values: dict[int, object], documented: duckdb.DuckDBPyConnection
) -> None:
    translated = to_duckdb(resolve(parse(sql), SCOPE), place=place, columns=lambda _: ())
    row = documented.execute(translated).fetchone()
    assert row is not None
    assert {index: row[index] for index in values} == values
