import pytest
from fastapi.testclient import TestClient

from convergence.engine.execute import Executor
from convergence.engine.service import Service
from tests.api.conftest import RUN, Keys

RUNS = "/api/v1/pipelines/runs"


@pytest.fixture
def failed(acme: TestClient, service: Service, source: str) -> str:
    """A run whose source has no file yet."""
    run_id: str = acme.post(RUN, json={"date": "2024-11-01"}).json()["pipeline_logging_id"]
    Executor(service=service, worker="w").walk("acme", run_id)
    return run_id


def test_a_failed_run_is_retried_once_at_a_time(acme: TestClient, failed: str) -> None:
    first, second = (acme.post(f"{RUNS}/{failed}/retry", json={"from": "start"}) for _ in "12")
    assert (first.status_code, second.status_code) == (202, 200)
    retried = acme.get(f"{RUNS}/{first.json()['pipeline_logging_id']}").json()
    assert (retried["retry_of"], retried["trigger_type"]) == (failed, "retry")
    assert second.json()["pipeline_logging_id"] == retried["pipeline_logging_id"]


def test_a_live_run_is_a_conflict(acme: TestClient, source: str) -> None:
    run_id = acme.post(RUN).json()["pipeline_logging_id"]
    answer = acme.post(f"{RUNS}/{run_id}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "run_live")


def test_what_is_asked_must_fit(acme: TestClient, failed: str) -> None:
    wrong_ones: list[object] = [{"from": "end"}, {"start_at": "start"}, {"trigger_by": " "}, []]
    for wrong in wrong_ones:
        assert acme.post(f"{RUNS}/{failed}/retry", json=wrong).status_code == 422


def test_a_foreign_run_is_absent(acme: TestClient, keys: Keys, failed: str) -> None:
    answer = acme.post(f"{RUNS}/{failed}/retry", headers=keys.rival)
    assert (answer.status_code, answer.json()["code"]) == (404, "run_not_found")


def test_runs_are_listed_from_a_moment_on(acme: TestClient, failed: str) -> None:
    found = {
        since: len(acme.get(RUNS, params={"since": since}).json()["items"])
        for since in ("2024-11-05T00:00:00Z", "2024-11-06T00:00:00Z")
    }
    assert list(found.values()) == [1, 0]


@pytest.mark.parametrize("edge", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-23:59"])
def test_runs_since_a_moment_that_has_no_time_in_utc_are_422(acme: TestClient, edge: str) -> None:
    assert acme.get(RUNS, params={"since": edge}).status_code == 422
