"""Quality results and lineage over HTTP."""

import re
from decimal import Decimal

import pytest
from starlette.testclient import TestClient

from tests.api.conftest import Keys
from tests.api.test_bills import OLD, YOUNG, synced

__all__ = ["synced"]
QUALITY, LINEAGE = "/api/v1/quality", "/api/v1/costs/lineage"


def test_results_are_listed_in_parts_and_shown_whole(synced: TestClient) -> None:
    whole = synced.get(QUALITY).json()["items"]
    assert len(whole) == 4
    first = synced.get(QUALITY, params={"limit": 3}).json()
    rest = synced.get(QUALITY, params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert first["items"] + rest["items"] == whole
    shown = synced.get(f"{QUALITY}/{whole[0]['dq_result_id']}").json()
    assert shown["overall_status"] == "PASS"
    assert len(shown["checks"]) == 24
    assert not shown["checks"][0]["passed"]
    assert shown["checks"][0]["samples"][0]["billing_account_id"] == "01AB-CD"


def test_results_are_chosen(synced: TestClient) -> None:
    counts = {
        "status=PASS": 4,
        "status=FAIL&status=WARNING": 0,
        f"from={YOUNG}": 2,
        f"to={OLD}": 2,
        "table=other": 0,
    }
    assert counts == {
        asked: len(synced.get(f"{QUALITY}?{asked}").json()["items"]) for asked in counts
    }


def test_unknown_result_and_wrong_status_are_refused(acme: TestClient) -> None:
    assert acme.get(f"{QUALITY}/none").json()["code"] == "quality_result_not_found"
    assert acme.get(f"{QUALITY}?status=BAD").status_code == 422


def test_another_tenants_results_are_as_if_absent(synced: TestClient, keys: Keys) -> None:
    known = synced.get(QUALITY).json()["items"][0]["dq_result_id"]
    assert synced.get(QUALITY, headers=keys.rival).json()["items"] == []
    assert synced.get(f"{QUALITY}/{known}", headers=keys.rival).status_code == 404
    assert synced.get(LINEAGE, headers=keys.rival).json()["items"] == []


def test_cost_leads_to_its_load_run_query_and_source(synced: TestClient) -> None:
    young, old = synced.get(LINEAGE).json()["items"]
    assert [young["date"], old["date"]] == [YOUNG, OLD]
    (shown,) = old["shown"]
    assert (shown["currency"], shown["rows"]) == ("EUR", 2)
    assert Decimal(shown["net"]) == Decimal("0.75")
    assert old["is_equal"]
    assert [file["path"] for file in old["files"]] == ["a.csv", "b.csv"]
    assert [file["rows"] for file in old["files"]] == [1, 1]
    assert old["totals"][0]["cost"] == old["totals"][0]["source_cost"]
    assert old["template"] == "gcp/cost/cost_sync"
    assert re.fullmatch("[0-9a-f]{64}", old["template_hash"])
    assert f"'{OLD}'" in old["sql"]
    assert old["quality"]["load_id"] == old["load_id"]
    assert old["restatements"] == 1
    run = synced.get(f"/api/v1/pipelines/runs/{old['pipeline_logging_id']}").json()
    assert run["status"] == "COMPLETED"


def test_lineage_comes_in_parts_and_by_filter(synced: TestClient) -> None:
    whole = synced.get(LINEAGE).json()["items"]
    first = synced.get(LINEAGE, params={"limit": 1}).json()
    rest = synced.get(LINEAGE, params={"limit": 1, "cursor": first["next_cursor"]}).json()
    assert first["items"] + rest["items"] == whole
    assert rest["next_cursor"] is None
    other = {"limit": 1, "cursor": first["next_cursor"], "to": YOUNG}
    assert synced.get(LINEAGE, params=other).json()["code"] == "invalid_cursor"
    assert len(synced.get(f"{LINEAGE}?filter=service=6F81&from={YOUNG}").json()["items"]) == 1
    assert synced.get(f"{LINEAGE}?filter=service=none").json()["items"] == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("filter=service", "invalid_filter"),
        ("filter=credit_type=X", "invalid_filter"),
        ("filter=month=2024-1", "invalid_filter"),
        ("filter=week=2024-11-05", "invalid_filter"),
        ("filter=invoice_month=oct", "invalid_filter"),
        ("from=2024-11-31", "invalid_date"),
        ("cursor=x", "invalid_cursor"),
        ("group_by=day", "invalid_request"),
    ],
)
def test_wrong_question_about_lineage_is_refused(acme: TestClient, query: str, code: str) -> None:
    answer = acme.get(f"{LINEAGE}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, code)
