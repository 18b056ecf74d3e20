"""The real application, seen through a browser that does not run scripts."""

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from convergence.engine.onboard import Onboarded, onboard
from convergence.engine.service import Service
from convergence.server import create_app
from tests.conftest import application

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
