"""A migrated control store for each test, on SQLite and on a real PostgreSQL; and builders."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from convergence.model.load import Load, LoadKey, LoadStatus
from convergence.model.money import MoneyKey, Total
from convergence.model.run import Run, Status, Trigger
from convergence.model.tenant import PLAN_LIMITS, Plan, Tenant, TenantStatus
from convergence.store import migrate, tenants
from convergence.store.database import Database, WriteTx
from convergence.store.tables import tenant_usage_quotas
from tests.conftest import Admin, postgres_url

NOW = datetime(2024, 11, 2, 3, 4, 5, 678901, tzinfo=UTC)
DAY = NOW.date()
NINE = {
    "pipelines_cancelled_today": (7, 0),
    "max_concurrent_reached": (7, 0),
    "quota_exceeded": (True, False),
    "quota_warning_sent": (True, False),
    "quota_exceeded_at": (NOW, None),
    "total_api_calls_today": (7, 0),
    "total_storage_used_gb": (Decimal("7.50"), Decimal("0.00")),
    "last_pipeline_started_at": (NOW, None),
    "last_pipeline_completed_at": (NOW, None),
}
"""The columns that were lost once: what the row has, and what it gets when it has nothing."""
USED = {name: used for name, (used, _) in NINE.items()}


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "control.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres: str, postgres_admin: Admin) -> str:
    postgres_admin("CREATE DATABASE template_cdp")
    _migrate(postgres.format("template_cdp"))
    return "template_cdp"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a migrated store with nothing in it."""
    if backend == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "control.db")
        yield f"sqlite:///{tmp_path / 'control.db'}"
    else:
        yield from postgres_url(request, request.getfixturevalue("postgres_template"))


@pytest.fixture
def empty_url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a store that was never migrated."""
    if backend == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
    else:
        yield from postgres_url(request, "template0")


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = Database(url)
    yield opened
    opened.close()


@pytest.fixture
def used(database: Database) -> Database:
    """With a tenant, and a usage row of it that says something in each column."""
    with database.write() as tx:
        add_tenant(tx, "acme")
        row = {
            "usage_id": "u1",
            "tenant_id": "acme",
            "usage_date": DAY,
            "daily_limit": 6,
            "pipelines_run_today": 3,
            "last_updated": NOW,
            "created_at": NOW,
        }
        tx.write(sa.insert(tenant_usage_quotas), row | USED)
    return database


@pytest.fixture
def tx(database: Database) -> Iterator[WriteTx]:
    """An open write transaction over a store with the tenants acme and other."""
    with database.write() as opened:
        for tenant_id in ("acme", "other"):
            add_tenant(opened, tenant_id)
        yield opened


def add_tenant(tx: WriteTx, tenant_id: str, plan: Plan = Plan.SCALE) -> None:
    tenants.create(tx, make_tenant(tenant_id, plan), PLAN_LIMITS[plan], now=NOW)


def make_tenant(tenant_id: str, plan: Plan = Plan.SCALE) -> Tenant:
    return Tenant(
        tenant_id=tenant_id,
        company_name=f"{tenant_id} Ltd",
        admin_email=f"admin@{tenant_id}.example",
        dataset=tenant_id,
        status=TenantStatus.ACTIVE,
        plan=plan,
        created_at=NOW,
    )


def make_run(
    run_id: str = "r1",
    tenant_id: str = "acme",
    **changes: Any,  # noqa: ANN401 - any field
) -> Run:
    run = Run(
        run_id=run_id,
        tenant_id=tenant_id,
        template="gcp/cost/cost_billing",
        pipeline_id=f"{tenant_id}-gcp-cost-billing",
        run_date=date(2024, 11, 1),
        status=Status.PENDING,
        trigger=Trigger.API,
        trigger_by="a test",
        parameters={"source_billing_table": "p.d.t"},
        parameter_hash="h",
        snapshot={"steps": [{"step_id": "extract"}]},
        template_hash="t",
        created_at=NOW,
    )
    return replace(run, **changes)


def make_load(
    load_id: str = "l1",
    run_id: str = "r1",
    **changes: Any,  # noqa: ANN401 - any field
) -> Load:
    totals = {MoneyKey("202411", "regular", "EUR"): Total(2, Decimal("1.5"), Decimal("-0.25"))}
    load = Load(
        load_id=load_id,
        run_id=run_id,
        tenant_id="acme",
        key=LoadKey(table="billing_cost_daily", day=date(2024, 11, 1), source="p.d.t"),
        attempt=1,
        status=LoadStatus.STAGED,
        totals=totals,
        source_totals=totals,
        staged_at=NOW,
    )
    return replace(load, **changes)


def _migrate(url: str) -> None:
    database = Database(url)
    migrate.upgrade(database)
    database.close()
