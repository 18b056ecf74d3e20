"""Tenants, their limits, usage, variables and keys over HTTP."""

from datetime import date

from starlette.testclient import TestClient

from convergence.engine.meter import Meter
from convergence.engine.service import Service
from convergence.model.usage import UsageRow
from convergence.store import usage
from tests.api.conftest import RUN, Keys
from tests.fakes import FakeClock

APPLICATION: dict[str, object] = {
    "tenant_id": "docker_customer_3434x4",
    "company_name": "Docker Customer",
    "admin_email": "admin@example.com",
    "subscription_plan": "STARTER",
}
TENANTS = "/api/v1/tenants"


def test_onboarding_answers_with_the_key_once(operator: TestClient) -> None:
    answer = operator.post(f"{TENANTS}/onboard", json=APPLICATION)
    made = answer.json()
    assert answer.status_code == 201
    assert made["message"].startswith(
        "Tenant Docker Customer onboarded successfully. API key generated."
    )
    assert (made["tenant_id"], made["subscription_plan"], made["dataset_created"]) == (
        "docker_customer_3434x4",
        "STARTER",
        True,
    )
    assert "billing_cost_daily" in made["tables_created"]
    shown = operator.get(f"{TENANTS}/docker_customer_3434x4", headers={"X-API-Key": "x"})
    assert made["api_key"] not in shown.text


def test_a_second_onboarding_conflicts(operator: TestClient) -> None:
    operator.post(f"{TENANTS}/onboard", json=APPLICATION)
    answer = operator.post(f"{TENANTS}/onboard", json=APPLICATION)
    assert (answer.status_code, answer.json()["code"]) == (409, "tenant_exists")


WRONG_APPLICATIONS: list[dict[str, object]] = [
    {"tenant_id": "Tenant"},
    {"tenant_id": "tenants"},
    {"tenant_id": "a'b"},
    {"tenant_id": "abc\n"},
    {"admin_email": "nobody"},
    {"admin_email": "a@example.com\r\nBcc: b@example.com"},
    {"company_name": " "},
    {"subscription_plan": "FREE"},
    {"force_recreate_dataset": True},
    {"daily_limit": 1000},
    {"tenant_id": None},
]


def test_a_wrong_application_is_422_and_leaves_nothing(operator: TestClient) -> None:
    for wrong in WRONG_APPLICATIONS:
        before = operator.get(TENANTS).json()
        answer = operator.post(f"{TENANTS}/onboard", json=APPLICATION | wrong)
        assert answer.status_code == 422
        assert operator.get(TENANTS).json() == before


def test_the_dry_run_tells_every_check(operator: TestClient) -> None:
    answer = operator.post(f"{TENANTS}/dryrun", json=APPLICATION | {"tenant_id": "acme"})
    told = answer.json()
    assert (answer.status_code, told["status"], told["ready_for_onboarding"]) == (
        200,
        "FAILED",
        False,
    )
    failed = [each["check_name"] for each in told["validation_results"] if not each["passed"]]
    assert failed == ["tenant_existence"]
    assert told["validation_summary"]["failed"] == 1


def test_tenants_are_listed_in_pages(operator: TestClient) -> None:
    first = operator.get(TENANTS, params={"limit": 1}).json()
    assert [item["tenant_id"] for item in first["items"]] == ["acme"]
    second = operator.get(TENANTS, params={"limit": 1, "cursor": first["next_cursor"]}).json()
    assert [item["tenant_id"] for item in second["items"]] == ["rival"]
    assert second["next_cursor"] is None


def test_a_tenant_changes_its_profile_but_not_its_status(acme: TestClient) -> None:
    answer = acme.patch(f"{TENANTS}/acme", json={"admin_email": "new@acme.example"})
    assert answer.json()["admin_email"] == "new@acme.example"
    assert acme.patch(f"{TENANTS}/acme", json={"status": "ACTIVE"}).status_code == 403
    assert acme.patch(f"{TENANTS}/acme", json={"tenant_id": "other"}).status_code == 422
    assert acme.patch(f"{TENANTS}/acme", json={"admin_email": "x"}).status_code == 422


def test_a_suspended_tenant_may_do_nothing(http: TestClient, keys: Keys) -> None:
    http.patch(f"{TENANTS}/acme", json={"status": "SUSPENDED"}, headers=keys.admin)
    answer = http.get(f"{TENANTS}/acme", headers=keys.acme)
    assert (answer.status_code, answer.json()["code"]) == (403, "tenant_not_active")


def test_usage_has_the_columns_the_limits_and_what_is_left(acme: TestClient, source: str) -> None:
    acme.post(RUN, json={"date": "2024-11-01"})
    told = acme.get(f"{TENANTS}/acme/usage").json()
    assert list(told) == [*UsageRow.__dataclass_fields__, "limits", "quota_remaining"]
    assert (told["pipelines_run_today"], told["concurrent_pipelines_running"]) == (1, 1)
    assert told["limits"]["daily_limit"] == 100
    assert told["quota_remaining"] == {"daily": 99, "monthly": 2999, "concurrent": 9}
    assert told["total_storage_used_gb"] == "0.00"


def test_limits_are_the_operators(http: TestClient, keys: Keys) -> None:
    path = f"{TENANTS}/acme/limits"
    assert http.patch(path, json={"daily_limit": 9}, headers=keys.acme).status_code == 403
    told = http.patch(path, json={"daily_limit": 9}, headers=keys.admin).json()
    assert told["limits"] == {
        "daily_limit": 9,
        "monthly_limit": 3000,
        "concurrent_limit": 10,
        "max_team_members": 11,
        "max_providers": 10,
        "maximum_bytes_billed": None,
    }
    assert http.get(path, headers=keys.acme).json() == told


WRONG_LIMITS: list[dict[str, object]] = [
    {},
    {"daily_limit": -1},
    {"daily_limit": "9"},
    {"daily_limit": True},
    {"daily_limit": None},
    {"maximum_bytes_billed": 1},
    {"x": 1},
]


def test_wrong_limits_are_422(operator: TestClient) -> None:
    for wrong in WRONG_LIMITS:
        assert operator.patch(f"{TENANTS}/acme/limits", json=wrong).status_code == 422


def test_a_limit_of_nothing_stops_every_run(operator: TestClient, source: str) -> None:
    operator.patch(f"{TENANTS}/acme/limits", json={"daily_limit": 0})
    assert operator.post(RUN, json={"date": "2024-11-01"}).status_code == 429
    assert operator.get("/metrics").status_code == 200


def test_variables_are_kept_and_used(acme: TestClient, source: str) -> None:
    path = f"{TENANTS}/acme/variables"
    assert acme.put(f"{path}/destination_table", json={"value": "mine"}).status_code == 200
    stored = {"name": "destination_table", "value": "mine"}
    assert acme.get(path).json()["items"] == [stored]
    run_id = acme.post(RUN, json={"date": "2024-11-01"}).json()["pipeline_logging_id"]
    run = acme.get(f"/api/v1/pipelines/runs/{run_id}").json()
    assert run["parameters"]["destination_table"] == "mine"
    assert acme.delete(f"{path}/destination_table").status_code == 204
    assert acme.delete(f"{path}/destination_table").status_code == 404


WRONG_NAMES = ["tenant_id", "Upper", "a-b", "run_id", "%00"]


def test_a_name_that_no_variable_has_is_422(acme: TestClient) -> None:
    for name in WRONG_NAMES:
        path = f"{TENANTS}/acme/variables/{name}"
        assert acme.put(path, json={"value": "x"}).status_code == 422


def test_at_most_five_keys_are_good_at_once(acme: TestClient) -> None:
    path = f"{TENANTS}/acme/api-keys"
    made = [acme.post(path, json={"key_name": f"key {n}"}) for n in range(5)]
    assert [answer.status_code for answer in made] == [201, 201, 201, 201, 409]
    listed = acme.get(path).json()["items"]
    assert len(listed) == 5
    assert not any("api_key" in key for key in listed)


def test_calls_of_a_tenant_that_is_gone_hold_up_no_other(
    acme: TestClient, service: Service
) -> None:
    meter, today = Meter(), service.clock.now().date()
    meter.count("aaa_gone", today, key_id="k1")
    meter.count("acme", today, key_id="k2")
    meter.count("zzz_gone", today, key_id="k3")
    meter.flush(service)
    with service.database.read() as tx:
        row = usage.row(tx, "acme", today)
    assert row is not None
    assert row.total_api_calls_today == 1


def test_calls_are_counted_and_flushed(acme: TestClient, service: Service, keys: Keys) -> None:
    for _ in range(3):
        acme.get(f"{TENANTS}/acme")
    acme.app.state.cdp.meter.flush(service)  # type: ignore[attr-defined]
    with service.database.read() as tx:
        row = usage.row(tx, "acme", date(2024, 11, 5))
    assert row is not None
    assert row.total_api_calls_today == 3


def test_the_last_use_of_a_key_is_told_within_a_minute(
    acme: TestClient, service: Service, clock: FakeClock
) -> None:
    def last_used() -> str | None:
        acme.app.state.cdp.meter.flush(service)  # type: ignore[attr-defined]
        (key,) = acme.get(f"{TENANTS}/acme/api-keys").json()["items"]
        used: str | None = key["last_used_at"]
        return used

    assert last_used() is None
    first = last_used()
    assert first is not None
    clock.advance(seconds=58)
    assert last_used() == first
    clock.advance(seconds=2)
    assert last_used() != first
