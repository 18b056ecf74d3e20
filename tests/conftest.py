"""What every room's tests may use: a real service on a fresh home, and exports to load from."""

import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings

from convergence.engine import ledger
from convergence.engine.onboard import Application, Onboarded, onboard
from convergence.engine.service import Service
from convergence.model.source import Grant, Kind, Source
from convergence.settings.fields import Settings
from convergence.store import sources
from convergence.wiring import build
from tests.fakes import FakeClock
from tests.postgres_server import PostgresMissingError, PostgresServer

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

EXPORT = "billing.exports.gcp_billing_export_v1_TEST"
Admin = Callable[[str], None]
HEADER = (
    "billing_account_id,service.id,service.description,sku.id,sku.description,usage_start_time,"
    "usage_end_time,project.id,export_time,cost,currency,credits,invoice.month,cost_type"
)


SHARED = ("ground", "chromium", "started", "bill", "whole", "loaded", "seed")
"""Fixtures that take seconds to make, or that run on beside the tests."""


WHOLE = {"api", "bill", "browser", "cli", "engine", "fleet", "journeys", "tools", "web"}
"""Folders whose tests have a whole service, or processes, around them."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give all tests that share such a fixture to one worker, so that it is made once, and mark
    those which the quick run leaves out.
    """
    for item in items:
        asked = set(getattr(item, "fixturenames", ()))
        if item.path.parent.name in WHOLE or asked & {"service", "tenant"}:
            item.add_marker(pytest.mark.whole)
        for name in set(SHARED) & asked:
            item.add_marker(pytest.mark.xdist_group(f"{item.path.parent.name}-{name}"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a server of its own, without a database name, over a Unix socket."""
    server = start_postgres()
    yield server.url("{}")
    server.stop()
    server.remove()


def start_postgres() -> PostgresServer:
    try:
        return PostgresServer()
    except PostgresMissingError as missing:
        pytest.skip(f"PostgreSQL IS NOT TESTED: {missing}")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Homes to be copied, without a copy that waits: making one takes longer than most tests."""

    bare: Path
    with_acme: Path
    with_both: Path
    acme: Onboarded
    rival: Onboarded
    """In `with_both` alone, of another plan."""


def made(home: Path) -> Service:
    """With its databases."""
    built = build(Settings(home=home))
    built.clock = FakeClock()
    _ = built.database, built.queue
    return built


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("prepared")
    with closing(made(folder / "bare")):
        pass
    with closing(made(folder / "with_acme")) as built:
        acme = onboard(built, application("acme", plan="SCALE"))
        ledger.publish(built)
    shutil.copytree(folder / "with_acme", folder / "with_both")
    with closing(made(folder / "with_both")) as built:
        rival = onboard(built, application("rival"))
        ledger.publish(built)
    homes = {name: folder / name for name in ("bare", "with_acme", "with_both")}
    return Prepared(**homes, acme=acme, rival=rival)


@pytest.fixture
def service(
    request: pytest.FixtureRequest, prepared: Prepared, tmp_path: Path, clock: FakeClock
) -> Iterator[Service]:
    """A real service: SQLite, DuckDB and DBOS' tables in a home of its own; the clock is ours."""
    asked = request.fixturenames
    with_tenant = prepared.with_acme if "tenant" in asked else prepared.bare
    shutil.copytree(prepared.with_both if "keys" in asked else with_tenant, tmp_path / "home")
    built = build(Settings(home=tmp_path / "home"))
    built.clock = clock
    yield built
    built.close()


@pytest.fixture
def tenant(service: Service, prepared: Prepared) -> Onboarded:
    """Its dataset and its row are in the home of `service`."""
    return prepared.acme


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


def grant_export(service: Service, files: Path | None, tenant_id: str, table: str = EXPORT) -> None:
    source = Source(
        table=table,
        files=str(files) if files else None,
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
