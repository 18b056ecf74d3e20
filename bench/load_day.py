"""One day of 250,000 nested rows: the adapter, reconciled, against a bare DuckDB script.

python bench/load_day.py [--rows N] [--rounds N]: both load the same file into a table of the same
44 columns and sum the source by invoice month, cost type and currency; printed are the median
times, their ratio (at most 1.3), what of the adapter's time the proof and the quality checks are,
and the peak memory of a process that runs the adapter alone (below 600 MB).
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple

import duckdb

from convergence.model.cancel import CancelToken
from convergence.model.load import LoadKey
from convergence.model.money import differences
from convergence.model.source import GrantedSource, Kind
from convergence.warehouse.duckdb.warehouse import DuckdbWarehouse
from convergence.warehouse.question import Scope
from convergence.warehouse.schemas import load_schema
from convergence.warehouse.sql.quality_queries import DAY as CHECKED_DAY
from convergence.warehouse.sql.quality_queries import Place, Question, Rows, measures
from convergence.warehouse.staged import LoadRecord, StageRequest
from convergence.warehouse.suites import load_suite

DAY = date(2024, 11, 1)
NOW = datetime(2024, 11, 3, tzinfo=UTC)
TABLE = "local.billing.gcp_billing_export_resource_v1_BENCH"

# As in a real bill, an account has one currency, and a project uses few of all SKUs.
EXPORT = """
COPY (SELECT
  '01' || lpad((i % 3)::VARCHAR, 4, '0') || '-ABCDEF-123456' AS billing_account_id,
  {'id': 'SVC-' || (sku_ % 23), 'description': 'Service number ' || (sku_ % 23)} AS service,
  {'id': 'SKU-' || sku_, 'description': 'A longer description ' || sku_} AS sku,
  TIMESTAMPTZ '2024-11-01 00:00:00+00' + to_hours((i % 24)::INT) AS usage_start_time,
  TIMESTAMPTZ '2024-11-01 01:00:00+00' + to_hours((i % 24)::INT) AS usage_end_time,
  CASE WHEN i % 50 <> 7 THEN {'id': 'project-' || (i % 50), 'number': (100000 + i % 50)::VARCHAR,
    'name': 'Project ' || (i % 50), 'labels': [{'key': 'team', 'value': 't' || (i % 9)}],
    'ancestry_numbers': '/1/2/',
    'ancestors': [{'resource_name': 'organizations/1', 'display_name': 'org'}]} END AS project,
  CASE WHEN i % 5 = 0 THEN [] ELSE [{'key': 'env', 'value': 'prod'},
    {'key': 'app', 'value': 'app-' || (i % 311)}] END AS labels,
  [{'key': 'compute.googleapis.com/cores', 'value': (i % 64)::VARCHAR}] AS system_labels,
  {'location': 'us-central1', 'country': 'US', 'region': 'us-central1',
    'zone': 'us-central1-' || chr(97 + (i % 3)::INT)} AS location,
  {'name': 'projects/p/instances/i-' || (i % 20000),
    'global_name': '//compute.googleapis.com/projects/p/instances/' || (i % 20000)} AS resource,
  [{'key': '123/env', 'value': 'prod', 'inherited': true, 'namespace': '123'}] AS tags,
  {'effective_price': 0.031611::DECIMAL(38,9), 'tier_start_amount': 0::DECIMAL(38,9),
    'unit': 'hour', 'pricing_unit_quantity': 1::DECIMAL(38,9), 'list_price': 0.04::DECIMAL(38,9),
    'effective_price_default': NULL::DECIMAL(38,9),
    'list_price_consumption_model': NULL::DECIMAL(38,9)} AS price,
  {'instance_id': NULL::VARCHAR} AS subscription,
  'GOOGLE' AS transaction_type, NULL::VARCHAR AS seller_name,
  TIMESTAMPTZ '2024-11-02 05:00:00+00' + to_minutes((i % 600)::INT) AS export_time,
  ((hash(i) % 1000000007) / 1e7 - 3)::DOUBLE AS cost,
  CASE WHEN i % 50 % 11 = 0 THEN 'EUR' ELSE 'USD' END AS currency,
  0.9231::DOUBLE AS currency_conversion_rate,
  {'amount': (i % 3600)::DOUBLE + 0.5, 'unit': 'seconds',
    'amount_in_pricing_units': ((i % 3600) / 3600)::DOUBLE, 'pricing_unit': 'hour'} AS usage,
  CASE i % 4 WHEN 0 THEN NULL WHEN 1 THEN [] ELSE list_resize([
    {'name': 'Sustained', 'amount': -((hash(i + 1) % 10007) / 1e6)::DOUBLE,
      'full_name': 'Sustained use discount', 'id': 's', 'type': 'SUSTAINED_USAGE_DISCOUNT'},
    {'name': 'Promo', 'amount': -0.1::DOUBLE, 'full_name': 'Promotion', 'id': 'p',
      'type': 'PROMOTION'}], (i % 4) - 1) END AS credits,
  {'month': CASE WHEN i % 50 = 0 THEN '202412' ELSE '202411' END,
    'publisher_type': 'GOOGLE'} AS invoice,
  CASE WHEN i % 100 = 1 THEN 'tax' WHEN i % 100 = 2 THEN 'adjustment' ELSE 'regular' END
    AS cost_type,
  CASE WHEN i % 100 = 2 THEN {'id': 'a', 'description': 'd', 'mode': 'PARTIAL_CORRECTION',
    'type': 'PRICE_CORRECTION'} END AS adjustment_info,
  ((hash(i) % 1000000007) / 1e7)::DOUBLE AS cost_at_list,
  {'id': 'm', 'description': 'Default', 'applied_subscription_instance_id': NULL::VARCHAR}
    AS consumption_model,
  0.5::DOUBLE AS cost_at_effective_price_default, 0.5::DOUBLE AS cost_at_list_consumption_model
FROM (SELECT i, i % 50 * 8 + i // 50 % 12 AS sku_ FROM range($rows) t(i))
) TO '$file' (FORMAT parquet, ROW_GROUP_SIZE 61440)
"""

COLUMNS = """
  billing_account_id, service.id AS service_id, service.description AS service_description,
  sku.id AS sku_id, sku.description AS sku_description, usage_start_time, usage_end_time,
  project.id AS project_id, project.name AS project_name, project.number AS project_number,
  location.location AS location_location, location.region AS location_region,
  location.zone AS location_zone, resource.name AS resource_name,
  resource.global_name AS resource_global_name, {cost} AS cost, currency,
  {rate} AS currency_conversion_rate,
  usage.amount AS usage_amount, usage.unit AS usage_unit,
  usage.amount_in_pricing_units AS usage_amount_in_pricing_units,
  usage.pricing_unit AS usage_pricing_unit, cost_type, {credits} AS credits_total,
  {list} AS cost_at_list, invoice.month AS invoice_month,
  {json}(labels) AS labels_json, {json}(system_labels) AS system_labels_json,
  export_time AS x_source_export_time, {json}(credits) AS x_credits_json,
  {json}(tags) AS x_tags_json, {json}(project.labels) AS x_project_labels_json,
  {json}(adjustment_info) AS x_adjustment_json, {json}(price) AS x_price_json,
  consumption_model.id AS x_consumption_model_id, subscription.instance_id AS x_subscription_id,
  seller_name AS x_seller_name, transaction_type AS x_transaction_type,
  invoice.publisher_type AS x_publisher_type,
  {default} AS x_cost_at_effective_price_default
"""
BILLING = (
    "SELECT "  # noqa: S608 - the bare script
    + COLUMNS.format(
        cost="cost",
        rate="currency_conversion_rate",
        credits="IFNULL((SELECT SUM(c.amount) FROM UNNEST(credits) AS c), 0)",
        list="cost_at_list",
        default="cost_at_effective_price_default",
        json="TO_JSON_STRING",
    )
    + " FROM `{source}` WHERE DATE(usage_start_time) = '{date}'"
)


class Times(NamedTuple):
    """Seconds of a load, and of its acts that prove it and check it; its processor time."""

    load: float
    proof: float = 0
    checks: float = 0
    worked: float = 0


def exact(value: str) -> str:
    """What a careful author writes by hand for a float that is money."""
    return (
        f"CASE WHEN abs({value}) >= 8388608"
        f" OR abs(abs({value} * 1e9) - floor(abs({value} * 1e9)) - 0.5) < 1e-4"
        f" THEN printf('%.40f', {value})::DECIMAL(38,9) ELSE {value}::DECIMAL(38,9) END"
    )


CREDITS = f"list_sum(list_transform(credits, lambda c: {exact('c.amount')}))"


def bare(home: Path, file: Path) -> Times:
    """The hand-written script: one transaction, the source summed by the same keys."""
    source = f"read_parquet('{file}') WHERE usage_start_time::DATE = DATE '{DAY}'"
    columns = COLUMNS.format(
        cost=exact("cost"),
        rate=exact("currency_conversion_rate"),
        credits=f"coalesce({CREDITS}, 0)",
        list=exact("cost_at_list"),
        default=exact("cost_at_effective_price_default"),
        json="to_json",
    )
    connection = duckdb.connect(config={"threads": 2, "memory_limit": "450MB"})
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET preserve_insertion_order = false")
    connection.execute(f"ATTACH '{home / 'bare.duckdb'}' AS t (STORAGE_VERSION 'v1.5.0')")
    select = (
        f"SELECT {columns}, DATE '{DAY}' AS ingestion_date, '{TABLE}' AS x_source,"  # noqa: S608 - the bare script
        f" 'run' AS x_run_id, TIMESTAMPTZ '{NOW}' AS x_ingested_at FROM {source}"
    )
    connection.execute(f"CREATE TABLE t.main.billing AS {select} LIMIT 0")
    start, worked = time.perf_counter(), time.process_time()
    connection.execute("BEGIN")
    connection.execute(f"DELETE FROM t.main.billing WHERE ingestion_date = DATE '{DAY}'")  # noqa: S608 - the bare script
    connection.execute(f"INSERT INTO t.main.billing BY NAME {select}")
    connection.execute(
        f"SELECT invoice.month, cost_type, currency, count(*), sum({exact('cost')}),"  # noqa: S608 - the bare script
        f" sum({CREDITS}) FROM {source} GROUP BY ALL"
    ).fetchall()
    connection.execute("COMMIT")
    taken = time.perf_counter() - start
    worked = time.process_time() - worked
    connection.close()
    return Times(taken, worked=worked)


def adapter(home: Path, file: Path) -> Times:
    """The product: stage, totals of both sides, checks, publish."""
    warehouse = DuckdbWarehouse(
        home, folders=lambda _: (file.parent,), memory_limit="450MB", threads=2
    )
    schema = load_schema("billing_cost_daily")
    warehouse.ensure_dataset("bench")
    for table in (schema, load_schema("billing_cost_summary"), load_schema("x_meta_loads")):
        warehouse.ensure_table("bench", table)  # as a tenant has them from the first day on
    source = GrantedSource(table=TABLE, files=str(file), kind=Kind.AUTO)
    request = StageRequest(
        dataset="bench",
        table=schema.name,
        schema=schema,
        scope=Scope(
            project="local",
            tenant_id="bench",
            datasets=frozenset({"bench"}),
            sources=(source,),
        ),
        key=LoadKey(table=schema.name, day=DAY, source=TABLE),
        sql=BILLING,
        names={"source": TABLE, "date": DAY},
        stamps={
            "x_run_id": "run",
            "x_source": TABLE,
            "x_ingested_at": NOW,
            "ingestion_date": DAY,
        },
    )
    record = LoadRecord(
        load_id="load",
        run_id="run",
        attempt=1,
        template_hash="0" * 64,
        is_sample=False,
        loaded_at=NOW,
    )
    start, worked = time.perf_counter(), time.process_time()
    staged = warehouse.stage(request, CancelToken())
    written = time.perf_counter()
    totals = warehouse.totals(staged, CancelToken())
    assert not differences(totals.loaded, totals.source or {})
    proven = time.perf_counter()
    question = checks(request)
    warehouse.look(staged, question.sql, CancelToken(), question.parameters)
    checked = time.perf_counter()
    warehouse.publish(staged, record)
    taken = time.perf_counter() - start
    worked = time.process_time() - worked
    warehouse.close()
    return Times(taken, proven - written, checked - proven, worked)


def checks(request: StageRequest) -> Question:
    """The one query of all default checks of the bill."""
    place = Place(
        project="local",
        dataset=request.dataset,
        table=request.table,
        day_column=request.partition_by,
        stamps=("x_source",),
    )
    rows = Rows(place=place, parameters={CHECKED_DAY: DAY, "x_source": TABLE})
    return measures(load_suite(request.table), rows, names={}, now=NOW)


def measured(way: Callable[[Path, Path], Times], file: Path) -> Times:
    with tempfile.TemporaryDirectory() as home:
        return way(Path(home), file)


def peak_megabytes(file: Path) -> float:
    """Peak resident memory of a fresh process that loads the day once."""
    command = [sys.executable, __file__, "--peak-of", str(file)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603 - itself


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=250_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peak-of", type=Path)
    options = parser.parse_args()
    if options.peak_of:
        measured(adapter, options.peak_of)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder).resolve() / "day.parquet"
        making = EXPORT.replace("$rows", str(options.rows)).replace("$file", str(file))
        duckdb.connect().execute("SET TimeZone = 'UTC'").execute(making)
        pairs = [(measured(bare, file), measured(adapter, file)) for _ in range(options.rounds)]
        ratio = statistics.median(ours.load / theirs.load for theirs, ours in pairs)
        of_work = statistics.median(ours.worked / theirs.worked for theirs, ours in pairs)
        proof = statistics.median(ours.proof / ours.load for _, ours in pairs)
        checked = statistics.median(ours.checks / ours.load for _, ours in pairs)
        print(f"rows       {options.rows}   cores {os.cpu_count()}")
        print(f"bare       {statistics.median(theirs.load for theirs, _ in pairs):.2f} s")
        print(f"adapter    {statistics.median(ours.load for _, ours in pairs):.2f} s")
        print(f"ratio      {ratio:.2f}   (at most 1.30)")
        print(f"           {of_work:.2f} of processor time")
        print(f"proof      {proof:.1%} of the adapter's time")
        print(f"checks     {checked:.1%} of the adapter's time")
        print(f"peak RSS   {peak_megabytes(file):.0f} MB   (below 600)")


if __name__ == "__main__":
    main()
