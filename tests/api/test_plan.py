"""Plans over HTTP and by command."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.api.conftest import Keys
from tests.conftest import HEADER, export_line

PATH = "templates/gcp/cost/cost_billing/plan"
BODY = {"date": "2024-11-01"}


@pytest.fixture
def filled(source: str, tmp_path: Path) -> str:
    (tmp_path / "export").mkdir()
    line = export_line("2024-11-01", "1.25", "-0.25", "202411")
    (tmp_path / "export" / "a.csv").write_text(f"{HEADER}\n{line}\n")
    return source


@pytest.mark.parametrize("prefix", ["/api/v1/pipelines/", "/api/v1/"])
def test_a_plan_answers_as_a_run_would_begin(acme: TestClient, filled: str, prefix: str) -> None:
    answer = acme.post(prefix + PATH, json=BODY)
    assert answer.status_code == 200
    planned = answer.json()
    assert (planned["would_run"], planned["obstacles"]) == (True, [])
    assert planned["quota"][0] == {"kind": "daily", "used": 0, "with_run": 1, "limit": 100}
    assert planned["steps"][0]["reads"][0]["files"] == 1
    assert acme.get("/api/v1/pipelines/runs").json()["items"] == []


def test_a_plan_is_for_the_caller_alone(acme: TestClient, keys: Keys, filled: str) -> None:
    path = f"/api/v1/{PATH}"
    assert acme.post(path, json=BODY, params={"tenant_id": "rival"}).status_code == 404
    refused = acme.post(path, json={"date": "2024-13-01"})
    assert refused.status_code == 422


def test_the_operator_says_for_whom(operator: TestClient, filled: str) -> None:
    path = f"/api/v1/{PATH}"
    assert operator.post(path, json=BODY).json()["code"] == "tenant_missing"
    planned = operator.post(path, json=BODY, params={"tenant_id": "acme"}).json()
    assert planned["tenant_id"] == "acme"
