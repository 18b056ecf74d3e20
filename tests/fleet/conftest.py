"""Two servers on a PostgreSQL that may be stopped, a mail server, and a tenant for each test."""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

import httpx2
import pytest
import sqlalchemy as sa

from tests.conftest import start_postgres
from tests.fleet.machines import Caller, Fleet, Process, Sink, onboard, sink, write_templates
from tests.postgres_server import PostgresServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What the tests stand on: started once, since a start takes seconds."""

    postgres: PostgresServer
    sink: Sink
    fleet: Fleet
    servers: list[Process]
    """Two, without a worker."""

    @property
    def server(self) -> Process:
        return self.servers[0]

    @property
    def urls(self) -> list[str]:
        return [server.url for server in self.servers]

    def caller(self, **limits: int) -> Caller:
        """A new tenant with these limits."""
        tenant = f"t{uuid4().hex[:12]}"
        headers = onboard(self.server.url, tenant, **limits)
        limits_ = httpx2.Limits(max_connections=60, max_keepalive_connections=0)
        return Caller(
            tenant=tenant, client=httpx2.Client(headers=headers, timeout=60, limits=limits_)
        )


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    postgres = start_postgres()
    folder = tmp_path_factory.mktemp("fleet")
    write_templates(folder)
    engine = sa.create_engine(postgres.url("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE fleet")
    engine.dispose()
    with sink() as (handler, smtp_url):
        fleet = Fleet(folder=folder, database_url=postgres.url("fleet"), smtp_url=smtp_url)
        servers = [fleet.serve(), fleet.serve()]
        yield Ground(postgres=postgres, sink=handler, fleet=fleet, servers=servers)
        fleet.kill()
    postgres.stop()
    postgres.remove()


@pytest.fixture
def fleet(ground: Ground) -> Iterator[Fleet]:
    """Whatever a test starts ends with it."""
    yield ground.fleet
    ground.fleet.kill(but=ground.servers)


@pytest.fixture
def server(ground: Ground) -> Process:
    """Without a worker; it holds no files."""
    return ground.server


@pytest.fixture
def acme(ground: Ground) -> Iterator[Caller]:
    """A tenant of the test's own."""
    caller = ground.caller()
    yield caller
    caller.client.close()
