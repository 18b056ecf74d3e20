"""Bringing datasets to their schemas: killed anywhere, and beside broken ones."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from convergence.engine import adopt, costs, migrate
from convergence.engine.at_schema import State
from convergence.engine.onboard import Onboarded, onboard
from convergence.engine.service import Service
from convergence.settings.fields import Settings
from convergence.wiring import build
from tests.conftest import application

HARM = (
    "ALTER TABLE tenants.tenant_usage_quotas DROP COLUMN quota_exceeded",
    "ALTER TABLE tenants.tenant_usage_quotas DROP COLUMN max_concurrent_reached",
    "ALTER TABLE x_meta_step_logs DROP COLUMN row_count",
    "DROP TABLE x_meta_dq_results",
)
RETIRED = (
    (
        "CREATE TABLE customer_usage_quotas (usage_id VARCHAR, customer_id VARCHAR,"
        " usage_date DATE, pipelines_run_today BIGINT, daily_limit BIGINT)"
    ),
    (
        "INSERT INTO customer_usage_quotas VALUES ('u1', 'acme', DATE '2024-01-01', 5, 6),"
        " ('u2', 'long_gone', DATE '2024-01-01', 7, 6)"
    ),
)
USAGE = (
    "SELECT usage_id, tenant_id, pipelines_run_today, quota_exceeded FROM {}.tenant_usage_quotas"
    " WHERE usage_date = '2024-01-01' ORDER BY 1"
)


def harm(home: Path, dataset: str, *statements: str) -> None:
    """By hand, in the file as it is; a new one is of the version that the service writes."""
    path = home / "warehouse" / f"{dataset}.duckdb"
    with duckdb.connect() as opened:
        opened.execute(f"ATTACH '{path}' AS own (STORAGE_VERSION 'v1.5.0')")
        opened.execute("USE own")
        for statement in statements:
            opened.execute(statement)


@pytest.fixture
def lacking(service: Service, tenant: Onboarded) -> Path:
    """A home whose tenant's tables lack columns and one of themselves."""
    assert {state.state for state in migrate.bring(service)} == {State.CURRENT}
    service.close()
    harm(service.home.path, "acme", *HARM)
    return service.home.path


def is_killed(home: Path, number: int) -> bool:
    child = subprocess.run(
        [sys.executable, Path(__file__).with_name("killed_migrate.py"), home, str(number)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
        timeout=50,
    )
    assert child.returncode in {0, -signal.SIGKILL}
    return child.returncode != 0


def check_killed(lacking: Path, number: int) -> bool:
    """In a copy of the home: each table is as it was or as it shall be, then all as they shall."""
    home = shutil.copytree(lacking, lacking.with_name(f"killed-{number}"))
    killed = is_killed(home, number)
    again = build(Settings(home=home))
    before = migrate.status(again)
    assert {state.state for state in before} <= {State.CURRENT, State.DRIFTED}
    assert {len(state.drifts) for state in before if state.drifts} <= {1, 2}
    assert {state.state for state in migrate.bring(again)} == {State.CURRENT}
    assert all(not state.statements for state in migrate.bring(again))
    again.close()
    shutil.rmtree(home)
    return killed


def test_a_bringing_killed_in_its_middle_is_done_by_the_next(lacking: Path) -> None:
    assert check_killed(lacking, 10)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_bringing_killed_before_any_of_its_statements_is_done_by_the_next(lacking: Path) -> None:
    last = next(number for number in range(1, 1000) if not check_killed(lacking, number))
    assert last > 3 * len(HARM)


@pytest.mark.parametrize(
    "count", [4, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
)
def test_three_broken_tenants_are_told_and_all_others_are_brought(
    service: Service, count: int
) -> None:
    names = [f"tenant_{number}" for number in range(count)]
    for name in names:
        onboard(service, application(name))
    service.close()
    home = service.home.path
    for name in names:
        harm(home, name, HARM[-1])
    for name in names[:3]:
        (home / "warehouse" / f"{name}.duckdb").write_bytes(b"not a database" * 1000)
    again = build(Settings(home=home))
    brought = migrate.bring(again)
    assert {state.place for state in brought if state.state is State.FAILED} == set(names[:3])
    mended = [state.place for state in brought if state.statements]
    assert sorted(mended) == sorted(names[3:])
    assert {state.state for state in brought} == {State.FAILED, State.CURRENT}
    assert not any(state.statements for state in migrate.bring(again))
    again.close()


def usage_of(service: Service, tenant_id: str | None) -> list[tuple[object, ...]]:
    return list(costs.query(service, tenant_id, USAGE.format("tenants")).rows)


@pytest.fixture
def customers(service: Service, tenant: Onboarded) -> Service:
    """A home that has the dataset of the time when tenants were customers."""
    migrate.bring(service)
    harm(service.home.path, "customers", *RETIRED)
    return service


def test_rows_of_the_dataset_customers_move_and_no_retired_name_is_left(
    customers: Service,
) -> None:
    (told,) = [state for state in migrate.status(customers) if state.drifts]
    assert (told.place, told.table) == ("customers", "customer_usage_quotas")
    moved = migrate.bring(customers)[-1]
    assert moved.state is State.CURRENT
    assert moved.statements == ("moved 2 rows to tenants.tenant_usage_quotas",)
    assert usage_of(customers, None) == [("u1", "acme", 5, False), ("u2", "long_gone", 7, False)]
    assert usage_of(customers, "acme") == [("u1", "acme", 5, False)]
    assert not (customers.home.path / "warehouse" / "customers.duckdb").exists()
    assert {state.state for state in migrate.bring(customers)} == {State.CURRENT}


def test_a_move_that_was_cut_off_is_done_by_the_next_and_doubles_nothing(
    customers: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before_the_drop:
        before_the_drop.setattr(adopt, "drop_retired", lambda _: None)
        migrate.bring(customers)
    moved = migrate.bring(customers)[-1]
    assert moved.statements == ("moved 0 rows to tenants.tenant_usage_quotas",)
    assert len(usage_of(customers, None)) == 2
    assert not (customers.home.path / "warehouse" / "customers.duckdb").exists()


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("ALTER TABLE customer_usage_quotas ADD COLUMN region VARCHAR", "region"),
        ("CREATE TABLE notes (text VARCHAR)", "notes"),
    ],
)
def test_what_has_no_place_stays_and_is_told(
    customers: Service, statement: str, named: str
) -> None:
    customers.warehouse.close()
    harm(customers.home.path, "customers", statement)
    left = migrate.bring(customers)[-1]
    assert left.state is State.FAILED
    assert named in left.error
    assert (customers.home.path / "warehouse" / "customers.duckdb").exists()
