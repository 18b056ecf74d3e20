"""The real application, seen through a browser that does not run scripts."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from convergence.engine.execute import Executor
from convergence.engine.launch import launch
from convergence.engine.onboard import Onboarded, onboard
from convergence.engine.service import Service
from convergence.model.run import LaunchRequest, Run
from convergence.server import create_app
from convergence.settings.fields import Settings
from convergence.store import runs
from convergence.wiring import build
from tests.conftest import HEADER, application, grant_export
from tests.fakes import FakeClock

HERE = ("127.0.0.1", 50_000)
SITE = "http://testserver"


class Browser(TestClient):
    """Asks for pages, and says which page a form was sent from."""

    def submit(self, path: str, fields: dict[str, str], *, origin: str = SITE):  # type: ignore[no-untyped-def]
        """Send a form."""
        return self.post(path, data=fields, headers={"Origin": origin}, follow_redirects=False)

    def form_token(self, path: str = "/runs") -> str:
        found = re.search(r'name="form_token" value="([0-9a-f]+)"', self.get(path).text)
        assert found
        return found.group(1)


@pytest.fixture
def app(service: Service) -> FastAPI:
    return create_app(service, with_worker=False)


@pytest.fixture
def browser(app: FastAPI) -> Iterator[Browser]:
    """Nobody is signed in."""
    with Browser(app, raise_server_exceptions=False, client=HERE) as browser:
        browser.headers["Accept"] = "text/html,application/xhtml+xml"
        yield browser


@pytest.fixture
def rival(service: Service) -> Onboarded:
    return onboard(service, application("rival"))


@pytest.fixture
def acme(browser: Browser, tenant: Onboarded) -> Browser:
    """The tenant acme is signed in."""
    assert browser.submit("/sign-in", {"key": tenant.api_key}).status_code == 303
    return browser


@pytest.fixture
def operator(browser: Browser, service: Service, tenant: Onboarded) -> Browser:
    """The operator is signed in."""
    answer = browser.submit("/sign-in", {"key": service.secrets.admin_key})
    assert answer.status_code == 303
    return browser


@pytest.fixture
def open_browser(service: Service) -> Iterator[Browser]:
    """Authentication is switched off."""
    service.config = replace(service.config, auth_disabled=True)
    opened = create_app(service, with_worker=False)
    with Browser(opened, raise_server_exceptions=False, client=HERE) as browser:
        yield browser


@dataclass(frozen=True, kw_only=True)
class Bill:
    """A tenant whose export was loaded: nine days before 5 November 2024, in two currencies."""

    browser: Browser
    service: Service
    runs: Sequence[Run]


DAYS = tuple(date(2024, 10, day) for day in (1, 2, 3, 4, 31)) + tuple(
    date(2024, 11, day) for day in (1, 2, 3, 4)
)


def bill_lines(day: date) -> list[str]:
    """Compute costs 10 and falls by a credit of 1; a script in a name; EUR without a project."""
    at = f"{day}T00:00:00,{day}T01:00:00"
    tail = f"{day:%Y%m},regular"
    credit = '"[{""name"": ""promo"", ""amount"": -1}]"'
    storage = "20.000000001" if day == DAYS[-1] else "5.000000001"
    return [
        f"01AB,COMP,Compute,VM,Cores,{at},proj,{day}T05:00:00,10,USD,{credit},{tail}",
        f"01AB,STOR,<script>,DISK,=Disk,{at},proj,{day}T05:00:00,{storage},USD,[],{tail}",
        f"01AB,COMP,Compute,VM,Cores,{at},,{day}T05:00:00,2.5,EUR,[],{tail}",
    ]


@pytest.fixture(scope="session")
def bill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bill]:
    """For looking only: the tests share it."""
    home = tmp_path_factory.mktemp("bill")
    (home / "a.csv").write_text(
        "\n".join([HEADER, *(line for day in DAYS for line in bill_lines(day))]) + "\n"
    )
    service = build(Settings(home=home / "home"))
    service.clock = FakeClock()
    acme = onboard(service, application("acme", plan="SCALE"))
    onboard(service, application("rival"))
    grant_export(service, home / "*.csv", "acme")
    loaded = [launch_run(service, day) for day in DAYS]
    app = create_app(service, with_worker=False)
    with Browser(app, raise_server_exceptions=False, client=HERE) as browser:
        browser.headers["Accept"] = "text/html,application/xhtml+xml"
        assert browser.submit("/sign-in", {"key": acme.api_key}).status_code == 303
        yield Bill(browser=browser, service=service, runs=loaded)


def launch_run(service: Service, day: date) -> Run:
    request = LaunchRequest(
        tenant_id="acme", template="gcp/cost/cost_billing", run_date=day, trigger_by="<b>me</b>"
    )
    run = launch(service, request).run
    Executor(service=service, worker="test").walk("acme", run.run_id)
    with service.database.read() as tx:
        return runs.get(tx, "acme", run.run_id)
