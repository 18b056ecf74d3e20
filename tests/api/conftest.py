"""The real application on a real service; clients with every kind of key."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from convergence.engine.service import Service
from convergence.outside.logs import Logs
from convergence.server import create_app
from tests.conftest import EXPORT, Prepared, grant_export

HERE = ("127.0.0.1", 50_000)
RUN = "/api/v1/pipelines/run/acme/gcp/cost/cost_billing"
Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Headers by who is calling: `acme` and `rival` are tenants."""

    acme: dict[str, str]
    rival: dict[str, str]
    admin: dict[str, str]


@pytest.fixture
def app(service: Service) -> FastAPI:
    return create_app(service, with_worker=False)


@pytest.fixture
def http(app: FastAPI) -> Iterator[TestClient]:
    """Without a key; a fault of ours is a 500, as it is for a client."""
    with TestClient(app, raise_server_exceptions=False, client=HERE) as client:
        yield client


@pytest.fixture
def keys(service: Service, prepared: Prepared) -> Keys:
    """Both are in the home of `service`."""
    return Keys(
        acme={"X-API-Key": prepared.acme.api_key},
        rival={"X-API-Key": prepared.rival.api_key},
        admin={"X-Admin-Key": service.secrets.admin_key},
    )


@pytest.fixture
def acme(http: TestClient, keys: Keys) -> TestClient:
    http.headers.update(keys.acme)
    return http


@pytest.fixture
def operator(http: TestClient, keys: Keys) -> TestClient:
    http.headers.update(keys.admin)
    return http


@pytest.fixture
def source(service: Service, keys: Keys, tmp_path: Path) -> str:
    """An export that acme may read; its files are still to come."""
    grant_export(service, tmp_path / "export" / "*.csv", "acme")
    return EXPORT


@pytest.fixture
def log(service: Service) -> Iterator[Callable[[], str]]:
    """What the log's file holds."""
    folder = service.home.path / "logs"
    logs = Logs(folder, level="INFO")
    yield (folder / "cdp.log").read_text
    logs.close()


@pytest.fixture
def open_http(service: Service) -> Iterator[TestClient]:
    """Authentication is switched off."""
    service.config = replace(service.config, auth_disabled=True)
    opened = create_app(service, with_worker=False)
    with TestClient(opened, raise_server_exceptions=False, client=HERE) as client:
        yield client
