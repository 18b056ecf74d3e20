"""A run's page, and what changes on it while one looks."""

import re
from datetime import date
from pathlib import Path

import pytest

from convergence.engine.launch import launch
from convergence.engine.onboard import Onboarded
from convergence.engine.service import Service
from convergence.model.run import LaunchRequest, Run, Status
from tests.conftest import grant_export
from tests.web.conftest import Bill, Browser, launch_run
from tests.web.test_overview import text_of


@pytest.fixture
def failed(service: Service, tenant: Onboarded, tmp_path: Path) -> Run:
    """Its source has no file."""
    grant_export(service, tmp_path / "none" / "*.csv", "acme")
    run = launch_run(service, date(2024, 11, 1))
    assert run.status is Status.FAILED
    return run


def test_completed_run_shows_steps_rows_and_proof(bill: Bill) -> None:
    run = bill.runs[0]
    page = bill.browser.get(f"/runs/{run.run_id}").text
    read = text_of(page)
    assert run.run_id in read
    assert "Totals, proven" in read
    assert re.search(
        r"equal 202410 regular USD loaded 2 15.000000001 .1 source 2 15.000000001 .1", read
    )
    assert "run completed" in read
    assert "hx-sse" not in page


def test_a_live_run_shows_the_steps_to_come(
    acme: Browser, service: Service, tmp_path: Path
) -> None:
    grant_export(service, tmp_path / "none" / "*.csv", "acme")
    request = LaunchRequest(
        tenant_id="acme",
        template="gcp/cost/cost_billing",
        run_date=date(2024, 11, 1),
        trigger_by="api",
    )
    run = launch(service, request).run
    read = text_of(acme.get(f"/runs/{run.run_id}").text)
    assert "PENDING Extract billing costs extract_billing_costs gcp.bq_etl" in read
    assert "Asked by api Accepted" in read


def test_failed_run_says_first_why_and_what_to_do(acme: Browser, failed: Run) -> None:
    page = acme.get(f"/runs/{failed.run_id}").text
    assert page.index("Why it failed") < page.index("Steps")
    read = text_of(page)
    assert "source_missing" in read
    assert "no file matches the source" in read
    assert "What to do: check the glob: cdp sources ls; has the export arrived?" in read
    assert "cdp run gcp/cost/cost_billing --tenant acme --date 2024-11-01" in read
    assert read.count("no file matches") == 1
    assert re.search(r"ERROR run failed (?!:)", read)


def test_failed_run_needs_attention_until_the_work_is_done(
    acme: Browser, failed: Run, service: Service, tmp_path: Path, bill: Bill
) -> None:
    assert "acme-gcp-cost-billing failed for 1 Nov 2024" not in text_of(bill.browser.get("/").text)
    folder = tmp_path / "none"
    folder.mkdir()
    source = bill.service.home.path.parent / "a.csv"
    (folder / "a.csv").write_text(source.read_text())
    launch_run(service, date(2024, 11, 2))
    assert "acme-gcp-cost-billing failed for 1 Nov 2024" in text_of(acme.get("/").text)
    launch_run(service, date(2024, 11, 1))
    assert "failed for 1 Nov" not in text_of(acme.get("/").text)


@pytest.mark.parametrize("run_id", ["0", "x" * 5000, "d40e48b7-a119-48e8-babc-4a8f503f268d", "%00"])
def test_run_that_is_not_there_is_a_page(acme: Browser, run_id: str) -> None:
    page = acme.get(f"/runs/{run_id}")
    assert (page.status_code, "<h1>Not found</h1>" in page.text) == (404, True)


def test_another_tenants_run_is_not_there(bill: Bill, acme: Browser) -> None:
    for path in ("/runs/{}", "/events/runs/{}"):
        assert acme.get(path.format(bill.runs[0].run_id)).status_code == 404


def test_stream_of_a_run_that_is_over_gives_it_once_and_ends(bill: Bill) -> None:
    answer = bill.browser.get(f"/events/runs/{bill.runs[0].run_id}")
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert "COMPLETED" in answer.text
    assert "event: over" in answer.text
    assert re.search(r"^id: \d+$", answer.text, re.MULTILINE)


def test_streams_need_a_session(browser: Browser, service: Service) -> None:
    for path in ("/events/runs", "/events/runs/d40e48b7-a119-48e8-babc-4a8f503f268d"):
        assert browser.get(path, follow_redirects=False).status_code == 303
        htmx = browser.get(path, headers={"HX-Request": "true"}, follow_redirects=False)
        assert htmx.headers["HX-Redirect"].startswith("/sign-in?next=")


def test_live_run_is_followed(acme: Browser, service: Service, tmp_path: Path) -> None:
    grant_export(service, tmp_path / "none" / "*.csv", "acme")
    request = LaunchRequest(tenant_id="acme", template="gcp/cost/cost_billing")
    waiting = launch(service, request).run
    page = acme.get(f"/runs/{waiting.run_id}").text
    assert f'hx-sse:connect="/events/runs/{waiting.run_id}"' in page


def test_failed_run_is_retried_and_a_waiting_one_cancelled(
    acme: Browser, failed: Run, service: Service
) -> None:
    page = f"/runs/{failed.run_id}"
    token = acme.form_token(page)
    assert acme.submit(f"{page}/retry", {"form_token": "0"}).status_code == 403
    answer = acme.submit(f"{page}/retry", {"form_token": token})
    assert answer.status_code == 303
    again = answer.headers["Location"]
    assert again != page
    assert "Cancel" in text_of(acme.get(again).text)
    assert acme.submit(f"{again}/cancel", {"form_token": token}).headers["Location"] == again
    assert "CANCELLED" in text_of(acme.get(again).text)


def test_another_tenants_run_is_neither_cancelled_nor_retried(bill: Bill, acme: Browser) -> None:
    token = acme.form_token()
    for verb in ("cancel", "retry"):
        path = f"/runs/{bill.runs[0].run_id}/{verb}"
        assert acme.submit(path, {"form_token": token}).status_code == 404
