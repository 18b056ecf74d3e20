from collections.abc import Mapping

import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import RUN, Keys

PLAN = "/api/v1/tenants/acme/subscription"


def test_the_operator_changes_the_plan_and_its_limits(
    acme: TestClient, keys: Keys, source: str
) -> None:
    for day in ("2024-11-01", "2024-11-02"):
        assert acme.post(RUN, json={"date": day}).status_code == 202
    changed = acme.patch(PLAN, json={"plan_name": "STARTER"}, headers=keys.admin).json()
    assert (changed["plan_name"], changed["limits"]["daily_limit"]) == ("STARTER", 6)
    assert "2 runs are live, the limit is 1 now" in changed["notice"]
    again = acme.patch(
        "/api/v1/tenants/acme", json={"subscription_plan": "SCALE"}, headers=keys.admin
    )
    assert (again.status_code, again.json()["subscription_plan"]) == (200, "SCALE")
    assert acme.get(PLAN).json()["notice"] is None


def test_limits_below_the_present_use_are_taken_with_a_notice(
    acme: TestClient, keys: Keys, source: str
) -> None:
    acme.post(RUN, json={"date": "2024-11-01"})
    limits = "/api/v1/tenants/acme/limits"
    answer = acme.patch(limits, json={"daily_limit": 0}, headers=keys.admin)
    assert (answer.status_code, answer.json()["available"]["daily"]) == (200, 0)
    assert "1 runs today, the limit is 0 now" in answer.json()["notice"]


def test_a_limit_of_bytes_is_no_part_of_a_plan_and_can_be_lifted(
    http: TestClient, keys: Keys
) -> None:
    limits = "/api/v1/tenants/acme/limits"
    for most in (10 * 2**30, None):
        http.patch(limits, json={"maximum_bytes_billed": most}, headers=keys.admin)
        changed = http.patch(PLAN, json={"plan_name": "STARTER"}, headers=keys.admin).json()
        assert changed["limits"]["maximum_bytes_billed"] == most


def test_usage_says_whether_the_quota_is_exceeded_at_this_moment(
    acme: TestClient, keys: Keys, source: str
) -> None:
    limits, used = "/api/v1/tenants/acme/limits", "/api/v1/tenants/acme/usage"
    acme.post(RUN, json={"date": "2024-11-01"})
    acme.patch(limits, json={"daily_limit": 1}, headers=keys.admin)
    assert acme.post(RUN, json={"date": "2024-11-02"}).status_code == 429
    assert acme.get(used).json()["quota_exceeded"] is True
    acme.patch(limits, json={"daily_limit": 2}, headers=keys.admin)
    usage = acme.get(used).json()
    assert usage["quota_exceeded"] is False
    assert usage["quota_exceeded_at"] is not None


def test_a_last_day_in_the_past_is_taken_with_a_notice(acme: TestClient, keys: Keys) -> None:
    past = acme.patch(PLAN, json={"subscription_end_date": "2024-11-04"}, headers=keys.admin)
    assert past.status_code == 200
    assert "its last day, 2024-11-04, lies in the past" in past.json()["notice"]
    today = acme.patch(PLAN, json={"subscription_end_date": "2024-11-05"}, headers=keys.admin)
    assert today.json()["notice"] is None


def test_a_tenant_changes_nothing_of_it(acme: TestClient) -> None:
    answer = acme.patch(PLAN, json={"plan_name": "SCALE"})
    assert (answer.status_code, answer.json()["code"]) == (403, "operator_only")
    own = acme.patch("/api/v1/tenants/acme", json={"subscription_plan": "SCALE"})
    assert (own.status_code, own.json()["code"]) == (403, "operator_only")


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"status": "INACTIVE"}, 403, "subscription_inactive"),
        ({"status": "EXPIRED"}, 402, "subscription_expired"),
        ({"trial_end_date": "2024-11-04"}, 402, "subscription_expired"),
        ({"subscription_end_date": "2024-11-04"}, 402, "subscription_expired"),
    ],
)
def test_what_has_ended_runs_nothing_more(
    acme: TestClient,
    keys: Keys,
    source: str,
    changes: Mapping[str, str],
    status: int,
    code: str,
) -> None:
    assert acme.patch(PLAN, json=changes, headers=keys.admin).status_code == 200
    answer = acme.post(RUN, json={"date": "2024-11-01"})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    cleared = {"status": "ACTIVE", "trial_end_date": None, "subscription_end_date": None}
    acme.patch(PLAN, json=cleared, headers=keys.admin)
    assert acme.post(RUN, json={"date": "2024-11-01"}).status_code == 202


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"plan_name": "GOLD"},
        {"status": "PAUSED"},
        {"trial_end_date": "soon"},
        {"trial_end_date": 1},
        {"trial_end_date": 0},
        {"subscription_end_date": False},
        {"limit": 1},
    ],
)
def test_a_change_must_be_one(operator: TestClient, wrong: Mapping[str, object]) -> None:
    assert operator.patch(PLAN, json=wrong).status_code == 422


@pytest.mark.parametrize("limit", [-1, 10**12, "6", 1.5, True])
def test_a_limit_must_be_a_sensible_number(operator: TestClient, limit: object) -> None:
    answer = operator.patch("/api/v1/tenants/acme/limits", json={"daily_limit": limit})
    assert answer.status_code == 422


def test_a_full_slot_says_when_to_ask_again(acme: TestClient, keys: Keys, source: str) -> None:
    acme.patch("/api/v1/tenants/acme/limits", json={"concurrent_limit": 0}, headers=keys.admin)
    answer = acme.post(RUN, json={"date": "2024-11-01"})
    problem = answer.json()
    assert (answer.status_code, problem["quota_type"]) == (429, "concurrent")
    assert (problem["current_usage"], problem["limit"], problem["reset_at"]) == (0, 0, None)
    assert answer.headers["Retry-After"] == str(problem["retry_after"])
