"""A month of the detailed export: `gcp/cost/cost_sync` from nothing, against a bare DuckDB script.

python bench/backfill.py [--rows N] [--days N] [--rounds N]: files of an export, N rows each, one
row in ten of the day before. Both load them into a table of the same 44 columns and sum the source
by invoice month, cost type and currency; the script does so in one INSERT and one GROUP BY, the
product day by day with its proof, hashes and units. Printed are the median times by the clock and
of the processor, the script's as a part of ours (at least 0.85), the peak memory of a process that
runs the product alone (below 1024 MB), and what a run takes that finds nothing new, one late row,
and other costs in all files.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import duckdb
from load_day import COLUMNS, CREDITS, EXPORT, exact

from convergence.engine.execute import Executor
from convergence.engine.launch import launch
from convergence.engine.onboard import Application, onboard
from convergence.model.run import LaunchRequest, Status
from convergence.model.source import Grant, Kind, Source
from convergence.settings.fields import Settings
from convergence.store import runs, sources
from convergence.wiring import build

FIRST = date(2024, 11, 2)
TABLE = "local.billing.gcp_billing_export_resource_v1_BENCH"


def make(folder: Path, rows: int, days: int) -> None:
    """One account, so that the files belong together; a tenth of each is of the day before."""
    connection = duckdb.connect().execute("SET TimeZone = 'UTC'")
    hours, before = "to_hours((i % 24)::INT)", "to_days((i % 10 = 0)::INT)"
    for number in range(days):
        day = FIRST + timedelta(days=number)
        making = (
            EXPORT.replace("'2024-11-01 0", f"'{day} 0")
            .replace("2024-11-02 05", f"{day + timedelta(days=1)} 05")
            .replace(hours, f"{hours} - {before}")
            .replace("$rows", str(rows))
            .replace("$file", str(folder / f"{day}.parquet"))
        )
        connection.execute(making)
    old_ns = time.time_ns() - 3600 * 10**9
    for file in folder.iterdir():
        os.utime(file, ns=(old_ns, old_ns))


def rewrite(folder: Path) -> None:
    """Other costs in every file."""
    for file in folder.iterdir():
        other = file.with_suffix(".new")
        rows = f"SELECT * REPLACE (cost + 1 AS cost) FROM '{file}'"  # noqa: S608 - a file of ours
        duckdb.execute(f"COPY ({rows}) TO '{other}' (FORMAT parquet, ROW_GROUP_SIZE 61440)")
        other.replace(file)


class Spent(NamedTuple):
    """Seconds by the clock and of the processor."""

    took: float
    worked: float

    @classmethod
    def since(cls, before: "Spent") -> "Spent":
        now = cls.now()
        return cls(now.took - before.took, now.worked - before.worked)

    @classmethod
    def now(cls) -> "Spent":
        return cls(time.perf_counter(), time.process_time())


def bare(home: Path, folder: Path) -> Spent:
    """The hand-written script: the whole month in one transaction."""
    source = f"read_parquet('{folder}/*.parquet')"
    columns = COLUMNS.format(
        cost=exact("cost"),
        rate=exact("currency_conversion_rate"),
        credits=f"coalesce({CREDITS}, 0)",
        list=exact("cost_at_list"),
        default=exact("cost_at_effective_price_default"),
        json="to_json",
    )
    connection = duckdb.connect(config={"threads": 2, "memory_limit": "512MB"})
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET preserve_insertion_order = false")
    connection.execute(f"ATTACH '{home / 'bare.duckdb'}' AS t (STORAGE_VERSION 'v1.5.0')")
    select = (
        f"SELECT {columns}, usage_start_time::DATE AS ingestion_date, '{TABLE}' AS x_source,"  # noqa: S608 - the bare script
        f" 'run' AS x_run_id, now() AS x_ingested_at FROM {source}"
    )
    connection.execute(f"CREATE TABLE t.main.billing AS {select} LIMIT 0")
    start = Spent.now()
    connection.execute("BEGIN")
    connection.execute("DELETE FROM t.main.billing")
    connection.execute(f"INSERT INTO t.main.billing BY NAME {select}")
    connection.execute(
        f"SELECT invoice.month, cost_type, currency, count(*), sum({exact('cost')}),"  # noqa: S608 - the bare script
        f" sum({CREDITS}) FROM {source} GROUP BY ALL"
    ).fetchall()
    connection.execute("COMMIT")
    taken = Spent.since(start)
    connection.close()
    return taken


def product(home: Path, folder: Path) -> tuple[Spent, ...]:
    """Spent on the first run, on one that finds nothing new, on one with a late row, and on one
    that finds all files rewritten.
    """
    service = build(Settings(home=home / "home"))
    assert service.queue  # what a process imports as it starts is no part of a load
    tenant = Application(
        tenant_id="bench",
        company_name="Bench",
        admin_email="bench@example.com",
        subscription_plan="SCALE",
    )
    onboard(service, tenant)
    source = Source(
        table=TABLE,
        files=str(folder / "*.parquet"),
        kind=Kind.AUTO,
        grants=(Grant(tenant_id="bench"),),
    )
    with service.database.write() as tx:
        sources.put(tx, source, now=service.clock.now())

    def sync() -> Spent:
        start = Spent.now()
        run = launch(service, LaunchRequest(tenant_id="bench", template="gcp/cost/cost_sync")).run
        Executor(service=service, worker="bench").walk("bench", run.run_id)
        taken = Spent.since(start)
        with service.database.read() as tx:
            ended = runs.get(tx, "bench", run.run_id)
        assert ended.status is Status.COMPLETED, ended.error
        return taken

    first, nothing = sync(), sync()
    late = folder / "late.parquet"
    one = f"SELECT * FROM '{folder / f'{FIRST}.parquet'}' LIMIT 1"  # noqa: S608 - a file of ours
    duckdb.execute(f"COPY ({one}) TO '{late}' (FORMAT parquet)")
    taken = sync()
    rewrite(folder)
    again = sync()
    late.unlink()
    service.close()
    return first, nothing, taken, again


def apart(folder: Path) -> tuple[list[Spent], float]:
    """What the product spent and its peak in MB, in a process of its own."""
    command = [sys.executable, __file__, "--product-on", str(folder)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - itself
    *spent, peak = json.loads(said.splitlines()[-1])
    return [Spent(*each) for each in spent], peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--product-on", type=Path)
    options = parser.parse_args()
    if options.product_on:
        with tempfile.TemporaryDirectory() as home:
            measured = product(Path(home), options.product_on)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps([*measured, peak]))
        return
    theirs, ours, peaks = [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        make(folder, options.rows, options.days)
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as home:
                theirs.append(bare(Path(home), folder))
            spent, peak = apart(folder)
            ours.append(spent)
            peaks.append(peak)
    print(f"rows         {options.rows * options.days}   cores {os.cpu_count()}")
    print(f"bare         {said(theirs)}")
    print(f"cost_sync    {said([here[0] for here in ours])}")
    parts = [
        statistics.median(
            there[place] / here[0][place] for there, here in zip(theirs, ours, strict=True)
        )
        for place in range(2)
    ]
    print(f"part         {parts[0]:.2f}, of processor time {parts[1]:.2f}   (at least 0.85)")
    print(f"nothing new  {said([here[1] for here in ours])}   (below 1)")
    print(f"one late row {said([here[2] for here in ours])}")
    print(f"rewritten    {said([here[3] for here in ours])}")
    print(f"peak RSS     {max(peaks):.0f} MB   (below 1024)")


def said(spent: list[Spent]) -> str:
    took, worked = (statistics.median(each) for each in zip(*spent, strict=True))
    return f"{took:.2f} s, {worked:.2f} s of the processor"


if __name__ == "__main__":
    main()
