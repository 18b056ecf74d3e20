"""A real browser on a real server. Without Chromium these tests are skipped, and say so."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, sync_playwright

from convergence.engine.onboard import onboard
from convergence.settings.fields import Settings
from convergence.wiring import build
from tests.cli.conftest import Server, serve
from tests.conftest import HEADER, application, grant_export
from tests.web.conftest import bill_lines

SECONDS = 60
"""What a loaded machine may take."""


@dataclass(kw_only=True)
class Site:
    """A running server: acme's first bill is loaded, from the last days that there were."""

    server: Server
    folder: Path
    admin: dict[str, str]
    key: str
    days: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.server.url

    def run(self, day: str) -> str:
        """Ask the API for a day; the run's id."""
        path = f"{self.url}/api/v1/pipelines/run/acme/gcp/cost/cost_billing"
        answer = httpx2.post(path, json={"date": day}, headers=self.admin, timeout=SECONDS)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["pipeline_logging_id"])

    def link(self, tenant_id: str | None = "acme") -> str:
        path = f"{self.url}/api/v1/sign-in-links"
        body = {"tenant_id": tenant_id}
        answer = httpx2.post(path, json=body, headers=self.admin, timeout=SECONDS)
        return str(answer.json()["url"])


@dataclass(kw_only=True)
class Seen:
    """What a page did: it must say nothing bad, and ask nobody else."""

    url: str
    said: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)

    def watch(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", self._request)
        page.on("response", self._response)

    @property
    def foreign(self) -> list[str]:
        ours = (self.url, "data:", "blob:")
        return [each for each in self.requests if not each.startswith(ours)]

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.said.append(message.text)

    def _request(self, request: Request) -> None:
        self.requests.append(request.url)

    def _response(self, response: Response) -> None:
        self.sizes[response.url] = int(response.headers.get("content-length", 0))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Not for the session: Playwright keeps an event loop, beside which no worker starts."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        reason = "THE DASHBOARD IS NOT TESTED IN A BROWSER: chromium is not installed"
        if os.environ.get("CDP_TEST_BROWSER"):
            pytest.fail(f"{reason} (apt-get install --no-install-recommends chromium)")
        pytest.skip(reason)
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    (folder / "export").mkdir()
    service = build(Settings(home=folder / "home"))
    today = service.clock.now().date()
    days = [today - timedelta(days=back) for back in (3, 2, 1)]
    acme = onboard(service, application("acme", plan="SCALE"))
    onboard(service, application("rival"))
    grant_export(service, folder / "export" / "*.csv", "acme")
    grant_export(service, folder / "none" / "*.csv", "rival", table="p.d.rival")
    admin = {"X-Admin-Key": service.secrets.admin_key}
    service.close()
    (folder / "export" / "a.csv").write_text(
        "\n".join([HEADER, *(line for day in days for line in bill_lines(day))]) + "\n"
    )
    server = serve(folder / "home")
    site = Site(server=server, folder=folder, admin=admin, key=acme.api_key)
    site.days = [day.isoformat() for day in days]
    ids = [site.run(day) for day in site.days[:2]]
    for run_id in ids:
        wait_for(site, run_id)
    yield site
    server.stop()


def wait_for(site: Site, run_id: str) -> None:
    """Until the run is over: its stream of events ends with it."""
    path = f"{site.url}/api/v1/pipelines/runs/{run_id}/events"
    answer = httpx2.get(path, headers=site.admin, timeout=SECONDS)
    assert "COMPLETED" in answer.text


@pytest.fixture
def seen(site: Site) -> Iterator[Seen]:
    """At the end of a test nothing bad was said, and nobody else was asked."""
    watched = Seen(url=site.url)
    yield watched
    assert watched.said == []
    assert watched.foreign == []


@pytest.fixture
def page(chromium: Browser, site: Site, seen: Seen) -> Iterator[Page]:
    """A page on which acme is signed in."""
    context = chromium.new_context()
    context.set_default_timeout(SECONDS * 1000)
    page = context.new_page()
    seen.watch(page)
    page.goto(site.link())
    yield page
    context.close()
