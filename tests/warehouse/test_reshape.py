"""The published copy of the usage table on DuckDB: lost columns come back in their place."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from sqlglot import exp, parse_one

from convergence.model.drift import Verdict, compare
from convergence.model.table import Mode, TableSchema
from convergence.warehouse.base import Warehouse
from convergence.warehouse.bigquery.reshape import statements
from convergence.warehouse.duckdb.warehouse import DuckdbWarehouse
from convergence.warehouse.question import QueryLimits, Scope
from convergence.warehouse.schemas import load_schema

NOW = datetime(2024, 11, 2, 3, 4, 5, tzinfo=UTC)
NINE = (
    "pipelines_cancelled_today",
    "max_concurrent_reached",
    "quota_exceeded",
    "quota_warning_sent",
    "quota_exceeded_at",
    "total_api_calls_today",
    "total_storage_used_gb",
    "last_pipeline_started_at",
    "last_pipeline_completed_at",
)
KILLED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from convergence.warehouse.duckdb import tables
from convergence.warehouse.bigquery.reshape import statements
from convergence.warehouse.duckdb.warehouse import DuckdbWarehouse
from convergence.warehouse.schemas import load_schema

run = tables.run

class Dying:
    def __init__(self, cursor):
        self.cursor = cursor

    def execute(self, statement):
        if statement == "COMMIT":
            os.kill(os.getpid(), signal.SIGKILL)
        return self.cursor.execute(statement)

tables.run = lambda cursor, statements: run(Dying(cursor), statements)
own = replace(load_schema("tenant_usage_quotas"), name="usage")
DuckdbWarehouse(Path(sys.argv[1]), folders=lambda _: ()).evolve("acme", own)
"""
"""Dies when every statement has been executed, and nothing is committed."""
SUBSETS = [lost for size in range(10) for lost in combinations(NINE, size)]
USAGE = load_schema("tenant_usage_quotas")
ROW = {
    "usage_id": "u1",
    "tenant_id": "acme",
    "usage_date": date(2024, 11, 2),
    "pipelines_run_today": 3,
    "pipelines_succeeded_today": 2,
    "pipelines_failed_today": 1,
    "pipelines_run_month": 30,
    "concurrent_pipelines_running": 0,
    "daily_limit": 6,
    "last_updated": NOW,
    "created_at": NOW,
}


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    opened = DuckdbWarehouse(tmp_path, folders=lambda _: ())
    yield opened
    opened.close()


def rows(warehouse: Warehouse, dataset: str) -> list[tuple[Any, ...]]:
    scope = Scope(project="local", tenant_id="acme", datasets=frozenset({dataset}))
    return list(warehouse.query(scope, "SELECT * FROM usage", QueryLimits()).rows)


def check_subset(warehouse: Warehouse, lost: tuple[str, ...]) -> None:
    own = replace(USAGE, name="usage")
    kept = tuple(column for column in own.columns if column.name not in lost)
    narrow = replace(own, columns=kept)
    dataset = f"d{SUBSETS.index(lost)}"
    warehouse.ensure_dataset(dataset)
    warehouse.ensure_table(dataset, narrow)
    warehouse.upsert(dataset, narrow, ("usage_id",), [ROW])
    planned = warehouse.evolve(dataset, own, is_plan=True)
    assert bool(planned) is bool(lost)
    assert warehouse.evolve(dataset, own) == planned
    live = warehouse.live(dataset, own)
    assert live is not None
    assert compare(own, live) == ()
    assert live.column_names == own.column_names
    assert warehouse.evolve(dataset, own) == []
    (found,) = rows(warehouse, dataset)
    values = dict(zip(own.column_names, found, strict=True))
    assert {name: values[name] for name in ROW} == ROW
    for column in own.columns:
        if column.name in lost:
            assert (values[column.name] is None) is (column.default is None)
    warehouse.drop_dataset(dataset)


@pytest.mark.parametrize("lost", [*SUBSETS[::51], SUBSETS[-1]])
def test_a_sample_of_lost_columns_comes_back_in_place(
    warehouse: Warehouse, lost: tuple[str, ...]
) -> None:
    check_subset(warehouse, lost)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_512_subsets_of_the_nine_columns_come_back_in_place(warehouse: Warehouse) -> None:
    assert len(SUBSETS) == 512
    for lost in SUBSETS:
        check_subset(warehouse, lost)


def test_looser_and_tighter_modes_and_defaults_are_mended(warehouse: Warehouse) -> None:
    def other(schema: TableSchema) -> TableSchema:
        return replace(
            schema,
            columns=tuple(
                replace(column, mode=Mode.NULLABLE, default=None)
                if column.name in {"pipelines_run_today", "created_at"}
                else replace(column, mode=Mode.REQUIRED)
                if column.name == "pipelines_cancelled_today"
                else column
                for column in schema.columns
            ),
        )

    own = replace(USAGE, name="usage")
    warehouse.ensure_dataset("acme")
    warehouse.ensure_table("acme", other(own))
    row = ROW | {"pipelines_run_today": None, "pipelines_cancelled_today": 4}
    warehouse.upsert("acme", own, ("usage_id",), [row])
    assert {drift.verdict for drift in compare(own, warehouse.live("acme", own))} == {
        Verdict.ADDITIVE
    }
    assert warehouse.evolve("acme", own)
    assert compare(own, warehouse.live("acme", own)) == ()
    (found,) = rows(warehouse, "acme")
    assert found[own.column_names.index("pipelines_run_today")] == 0
    assert found[own.column_names.index("pipelines_cancelled_today")] == 4


def test_a_table_that_is_written_anew_after_a_kill_is_whole(tmp_path: Path) -> None:
    """What was not committed is gone; the next one finds the table as it was."""
    own = replace(USAGE, name="usage")
    narrow = replace(own, columns=tuple(c for c in own.columns if c.name not in NINE))
    first = DuckdbWarehouse(tmp_path, folders=lambda _: ())
    first.ensure_dataset("acme")
    first.ensure_table("acme", narrow)
    first.upsert("acme", narrow, ("usage_id",), [ROW])
    first.close()
    child = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], cwd=Path(__file__).parents[2], check=False
    )
    assert child.returncode == -signal.SIGKILL
    second = DuckdbWarehouse(tmp_path, folders=lambda _: ())
    found = second.live("acme", narrow)
    assert found is not None
    assert compare(narrow, found) == ()
    assert second.evolve("acme", own)
    assert len(rows(second, "acme")) == 1
    second.close()


@pytest.mark.parametrize("name", ["tenant_usage_quotas", "billing_cost_daily", "x_meta_loads"])
def test_any_lost_column_comes_back_on_bigquery_its_default_last(name: str) -> None:
    """Where the rows get it before the table has it, a run that is cut off is seen as one."""
    schema, place = load_schema(name), exp.table_(name, db="acme")
    for column in schema.columns:
        live = replace(schema, columns=tuple(c for c in schema.columns if c is not column))
        found = statements(place, live, schema)
        kinds = [type(parse_one(each, dialect="bigquery")) for each in found]
        if len(kinds) > 1:
            assert kinds == [exp.Alter, exp.Update, exp.Alter], found
            cut = replace(column, default=None)
            half = replace(schema, columns=tuple(cut if c is column else c for c in schema.columns))
            assert statements(place, half, schema) == found[1:]
