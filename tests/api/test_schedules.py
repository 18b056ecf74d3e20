"""Schedules over HTTP, by both paths; and the operator's scheduler routes."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from convergence.engine.service import Service
from tests.api.conftest import RUN, Keys
from tests.fakes import FakeClock

OURS = "/api/v1/tenants/acme/schedules"
THEIRS = "/api/v1/scheduler/tenant/acme/pipelines"
BODY = {
    "provider": "gcp",
    "domain": "cost",
    "pipeline_template": "cost_billing",
    "schedule_cron": "0 3 * * *",
    "timezone": "Europe/Berlin",
}
Json = dict[str, Any]


@pytest.mark.parametrize(("made_at", "seen_at"), [(OURS, THEIRS), (THEIRS, OURS)])
def test_a_schedule_is_made_seen_changed_and_removed(
    acme: TestClient, made_at: str, seen_at: str
) -> None:
    answer = acme.post(made_at, json=BODY)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    times = ["2024-11-06T02:00:00Z", "2024-11-07T02:00:00Z", "2024-11-08T02:00:00Z"]
    assert (made["next_run_time"], made["next_run_times"]) == (times[0], times)
    assert BODY.items() <= made.items()
    assert (made["priority"], made["catch_up"], made["date_offset"]) == (5, 1, -1)
    assert acme.get(seen_at).json() == {"items": [made], "next_cursor": None}
    path = f"{seen_at}/{made['config_id']}"
    paused = acme.patch(path, json={"is_active": False}).json()
    assert (paused["is_active"], paused["next_run_times"]) == (False, [])
    changed = acme.patch(path, json={"is_active": True, "schedule_cron": "0 5 * * *"}).json()
    assert changed["next_run_time"] == "2024-11-06T04:00:00Z"
    assert acme.get(path).json() == changed | {"missed": []}
    assert acme.delete(path).status_code == 204
    assert acme.get(path).status_code == acme.delete(path).status_code == 404
    assert acme.post(made_at, json=BODY).status_code == 201


@pytest.mark.parametrize(
    ("change", "code", "hint"),
    [
        ({"schedule_cron": "61 3 * * *"}, "invalid_cron", "0 3 * * *"),
        ({"schedule_cron": "0 0 3 * * *"}, "invalid_cron", "minute hour"),
        ({"schedule_cron": "0 0 31 2 *"}, "invalid_cron", "minute hour"),
        ({"timezone": "Europe/Berln"}, "unknown_timezone", "Europe/Berlin"),
        ({"pipeline_template": "cost_bilig"}, "unknown_template", "gcp/cost/cost_billing"),
        ({"parameters": {"nonsense": "1"}}, "undeclared_variable", ""),
        ({"parameters": {"tenant_id": "rival"}}, "builtin_variable", ""),
        ({"priority": 0}, "invalid_request", ""),
        ({"catch_up": -1}, "invalid_request", ""),
        ({"color": "red"}, "invalid_request", ""),
    ],
)
def test_a_wrong_schedule_is_refused_with_a_hint(
    acme: TestClient, change: Json, code: str, hint: str
) -> None:
    answer = acme.post(OURS, json=BODY | change)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert hint in answer.json()["hint"]
    assert acme.get(OURS).json()["items"] == []


def test_the_same_schedule_twice_is_refused(acme: TestClient) -> None:
    acme.post(OURS, json=BODY)
    answer = acme.post(THEIRS, json=BODY)
    assert (answer.status_code, answer.json()["code"]) == (422, "schedule_exists")
    assert answer.json()["hint"]


def test_anothers_schedule_is_like_an_absent_one(http: TestClient, keys: Keys) -> None:
    made = http.post(OURS, json=BODY, headers=keys.acme).json()
    for method in ("GET", "PATCH", "DELETE"):
        path = f"/api/v1/tenants/rival/schedules/{made['config_id']}"
        answer = http.request(method, path, headers=keys.rival, json={"priority": 1})
        assert (answer.status_code, answer.json()["code"]) == (404, "schedule_not_found")


def test_a_key_that_may_not_run_may_not_schedule(acme: TestClient) -> None:
    wanted = {"key_name": "w", "scopes": ["pipelines:read", "pipelines:write"]}
    key = acme.post("/api/v1/tenants/acme/api-keys", json=wanted).json()["api_key"]
    answer = acme.post(OURS, json=BODY, headers={"X-API-Key": key})
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")


def test_the_operator_triggers_what_is_due(
    http: TestClient, keys: Keys, source: str, clock: FakeClock
) -> None:
    made = http.post(OURS, json=BODY, headers=keys.acme).json()
    nothing = http.post("/api/v1/scheduler/trigger", headers=keys.admin).json()
    assert (nothing["triggered_count"], nothing["next_trigger_time"]) == (0, made["next_run_time"])
    clock.advance(days=1)
    due = http.get("/api/v1/scheduler/status", headers=keys.admin).json()
    assert (due["total_active_pipelines"], due["pipelines_due_now"]) == (1, 1)
    answer = http.post("/api/v1/scheduler/trigger?limit=5", headers=keys.admin).json()
    assert (answer["triggered_count"], answer["queued_count"], answer["skipped_count"]) == (1, 0, 0)
    run_id = answer["details"][0]["pipeline_logging_id"]
    run = http.get(f"/api/v1/pipelines/runs/{run_id}", headers=keys.acme).json()
    assert (run["trigger_type"], run["run_date"]) == ("schedule", "2024-11-05")
    after = http.get("/api/v1/scheduler/status", headers=keys.admin).json()
    assert (after["pipelines_due_now"], after["pipelines_queued"], after["queue_length"]) == (
        0,
        1,
        1,
    )
    assert after["avg_execution_time_seconds"] is None


def test_the_queue_is_processed_one_schedule_at_a_time(
    http: TestClient, keys: Keys, source: str, clock: FakeClock
) -> None:
    idle = http.post("/api/v1/scheduler/process-queue", headers=keys.admin).json()
    assert (idle["processed"], idle["status"]) == (False, "IDLE")
    http.post(OURS, json=BODY, headers=keys.acme)
    clock.advance(days=1)
    taken = http.post("/api/v1/scheduler/process-queue", headers=keys.admin).json()
    assert (taken["status"], taken["tenant_id"]) == ("PROCESSING", "acme")
    assert taken["pipeline_id"] == "acme-gcp-cost-billing"


def test_a_reset_opens_the_day_and_touches_no_finished_one(
    http: TestClient, keys: Keys, clock: FakeClock
) -> None:
    before = http.get("/api/v1/tenants/acme/usage", headers=keys.acme).json()
    clock.advance(days=1)
    answer = http.post("/api/v1/scheduler/reset-daily-quotas", headers=keys.admin).json()
    assert (answer["status"], answer["records_updated"], answer["records_archived"]) == (
        "success",
        2,
        0,
    )
    assert before["usage_date"] == "2024-11-05"
    again = http.post("/api/v1/scheduler/reset-daily-quotas", headers=keys.admin).json()
    assert again["records_updated"] == 0


def test_a_cleanup_tells_what_was_put_back(
    http: TestClient, keys: Keys, service: Service, clock: FakeClock
) -> None:
    answer = http.post("/api/v1/scheduler/cleanup-orphaned-pipelines", headers=keys.admin).json()
    assert (answer["status"], answer["total_pipelines_cleaned"], answer["details"]) == (
        "success",
        0,
        [],
    )


def test_a_cleanup_puts_back_a_run_that_the_queue_lost(
    acme: TestClient, service: Service, keys: Keys, source: str
) -> None:
    run_id = acme.post(RUN, json={"date": "2024-11-01"}).json()["pipeline_logging_id"]
    service.queue.withdraw(run_id)
    route = "/api/v1/scheduler/cleanup-orphaned-pipelines"
    del acme.headers["X-API-Key"]
    first, second = (acme.post(route, headers=keys.admin).json() for _ in "12")
    assert first["details"] == [{"tenant_id": "acme", "pipelines_cleaned": 1}]
    assert (first["tenants_processed"], first["tenants_with_cleanup"]) == (1, 1)
    assert second["total_pipelines_cleaned"] == 0
