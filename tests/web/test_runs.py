"""The pages of runs."""

import re
from datetime import date, timedelta

import pytest

from convergence.engine import administer
from convergence.engine.launch import launch
from convergence.engine.onboard import Onboarded
from convergence.engine.service import Service
from convergence.model.run import LaunchRequest, Run, Status
from convergence.store import runs
from tests.conftest import grant_export
from tests.web.conftest import Browser


@pytest.fixture
def launched(service: Service, tenant: Onboarded) -> list[Run]:
    """Sixty runs of acme, the oldest first: one failed, one completed, the others wait."""
    grant_export(service, service.home.path / "*.csv", "acme")
    administer.set_limits(service, "acme", {"concurrent_limit": 100})
    first = date(2024, 1, 1)
    admitted = [run_of(service, "acme", first + timedelta(days=number)) for number in range(60)]
    for run, status in ((admitted[0], Status.FAILED), (admitted[1], Status.COMPLETED)):
        end(service, run, status)
    return admitted


def run_of(service: Service, tenant_id: str, day: date) -> Run:
    request = LaunchRequest(tenant_id=tenant_id, template="gcp/cost/cost_billing", run_date=day)
    return launch(service, request).run


def end(service: Service, run: Run, status: Status) -> None:
    with service.database.write() as tx:
        runs.claim(tx, run.tenant_id, run.run_id, worker="w", now=service.clock.now())
        runs.finish(
            tx,
            run.tenant_id,
            run.run_id,
            attempt=1,
            status=status,
            now=service.clock.now(),
            error_code="source_missing" if status is Status.FAILED else None,
            error="no file matches the <source>" if status is Status.FAILED else None,
        )


def ids(page: str) -> list[str]:
    return re.findall(r'<tr id="run-([0-9a-f-]{36})"', page)


def test_runs_are_listed_in_parts_whole_and_once(acme: Browser, launched: list[Run]) -> None:
    seen: list[str] = []
    path: str | None = "/runs"
    while path:
        page = acme.get(path).text
        seen += ids(page)
        older = re.search(r'rel="next" href="([^"]+)"', page)
        path = older.group(1).replace("&amp;", "&") if older else None
    assert seen == [run.run_id for run in reversed(launched)]


def test_older_part_tells_of_runs_that_came_since(
    acme: Browser, service: Service, launched: list[Run]
) -> None:
    (older,) = re.findall(r'rel="next" href="([^"]+)"', acme.get("/runs").text)
    path = older.replace("&amp;", "&")
    before = acme.get(path).text
    assert "new: show" not in before
    for day in (date(2025, 1, 1), date(2025, 1, 2)):
        run_of(service, "acme", day)
    after = acme.get(path).text
    assert '<a href="/runs">2 new: show</a>' in after
    assert ids(after) == ids(before)
    assert "new: show" not in acme.get("/runs").text


def test_run_and_pipeline_are_found(acme: Browser, launched: list[Run]) -> None:
    for sought, path in (
        (launched[0].run_id, f"/runs/{launched[0].run_id}"),
        ("acme-gcp-cost-billing", "/runs?pipeline=acme-gcp-cost-billing"),
        ("//evil.example", "/runs?pipeline=%2F%2Fevil.example"),
    ):
        found = acme.get("/runs", params={"find": f" {sought} "}, follow_redirects=False)
        assert (found.status_code, found.headers["Location"]) == (303, path)


def test_counts_filter_by_status(acme: Browser, launched: list[Run]) -> None:
    page = acme.get("/runs").text
    assert re.findall(r"<b>([\d,]+)</b>", page) == ["58", "0", "1", "1", "0"]
    failed = acme.get("/runs", params={"status": "FAILED"}).text
    assert ids(failed) == [launched[0].run_id]
    assert 'aria-current="true"' in failed


def test_status_is_a_word_and_an_icon(acme: Browser, launched: list[Run]) -> None:
    row = acme.get("/runs?status=FAILED").text.partition("<tbody")[2]
    assert re.search(r'<span class="status failed"><svg class="icon".*?</svg>FAILED</span>', row)


def test_list_without_a_run_says_what_to_do(acme: Browser) -> None:
    page = acme.get("/runs").text
    assert "cdp run gcp/cost/cost_billing --tenant acme" in page
    assert "No runs here" in acme.get("/runs?status=FAILED").text


@pytest.mark.parametrize(
    "query", ["status=BAD", "before=junk", "before=2024-01-01T00:00:00~x", "before=0001-01-01~x"]
)
def test_bad_address_is_a_page_that_says_so(acme: Browser, query: str) -> None:
    page = acme.get(f"/runs?{query}")
    assert page.status_code == 422
    assert "<h1>That cannot be shown</h1>" in page.text


def test_tenant_sees_its_own_runs_alone(
    acme: Browser, service: Service, launched: list[Run], rival: Onboarded
) -> None:
    grant_export(service, service.home.path / "*.csv", "rival", table="p.d.rival")
    foreign = run_of(service, "rival", date(2024, 1, 1))
    assert foreign.run_id not in acme.get("/runs").text
    for path in ("/runs?tenant=rival", "/runs?tenant=nobody"):
        assert acme.get(path).status_code == 404


def test_operator_sees_all_tenants_or_the_chosen_one(
    operator: Browser, service: Service, launched: list[Run], rival: Onboarded
) -> None:
    grant_export(service, service.home.path / "*.csv", "rival", table="p.d.rival")
    foreign = run_of(service, "rival", date(2024, 1, 1))
    assert ids(operator.get("/runs").text)[0] == foreign.run_id
    assert foreign.run_id not in operator.get("/runs?tenant=acme").text
    assert ids(operator.get("/runs?tenant=rival").text) == [foreign.run_id]
    assert operator.get("/runs?tenant=nobody").status_code == 404


def test_unknown_address_is_a_page_for_browsers_alone(acme: Browser) -> None:
    page = acme.get("/nowhere")
    assert (page.status_code, "<h1>Not found</h1>" in page.text) == (404, True)
    for path, accept in (("/nowhere", "application/json"), ("/api/v1/nowhere", "text/html")):
        answer = acme.get(path, headers={"Accept": accept})
        assert answer.headers["Content-Type"] == "application/problem+json"
