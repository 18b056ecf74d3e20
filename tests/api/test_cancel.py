from fastapi.testclient import TestClient

from convergence.engine.execute import Executor
from convergence.engine.service import Service
from tests.api.conftest import RUN, Keys

RUNS = "/api/v1/pipelines/runs"
BODY = {"date": "2024-11-01"}


def asked_for(acme: TestClient) -> str:
    run_id = acme.post(RUN, json=BODY).json()["pipeline_logging_id"]
    assert isinstance(run_id, str)
    return run_id


def test_a_waiting_run_is_cancelled_and_its_slot_is_free(acme: TestClient, source: str) -> None:
    run_id = asked_for(acme)
    for _ in range(2):
        answer = acme.post(f"{RUNS}/{run_id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "CANCELLED")
    usage = acme.get("/api/v1/tenants/acme/usage").json()
    assert usage["pipelines_cancelled_today"] == 1
    assert usage["concurrent_pipelines_running"] == 0


def test_a_run_under_way_is_asked_to_end(acme: TestClient, service: Service, source: str) -> None:
    run_id = asked_for(acme)
    Executor(service=service, worker="w").begin("acme", run_id)
    for _ in range(2):
        answer = acme.delete(f"{RUNS}/{run_id}")
        run = answer.json()
        assert (answer.status_code, run["status"], run["cancel_requested"]) == (
            202,
            "RUNNING",
            True,
        )


def test_a_run_that_is_over_is_a_conflict_with_its_status(
    acme: TestClient, service: Service, source: str
) -> None:
    run_id = asked_for(acme)
    Executor(service=service, worker="w").walk("acme", run_id)
    answer = acme.post(f"{RUNS}/{run_id}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "run_over")
    assert "is FAILED" in answer.json()["detail"]


def test_a_foreign_run_cannot_be_told_from_none(acme: TestClient, keys: Keys, source: str) -> None:
    run_id = asked_for(acme)
    absent = "00000000-0000-4000-8000-000000000000"
    for each in (run_id, absent, "x"):
        answer = acme.post(f"{RUNS}/{each}/cancel", headers=keys.rival)
        assert (answer.status_code, answer.json()["code"]) == (404, "run_not_found")
    assert acme.get(f"{RUNS}/{run_id}").json()["status"] == "PENDING"
