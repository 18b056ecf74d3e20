"""Who may call what: every route, every kind of key."""

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from convergence.api import auth
from convergence.model.key import Scope
from convergence.server import PAGES
from tests.api.conftest import RUN, Keys

PAGE_ROUTES = [route for page in PAGES for route in page.router.routes]
"""The dashboard's, whose visitors are tested with it."""
BAD = "cdp_test_" + "a" * 12 + "_" + "b" * 43 + "_" + "c" * 6
RUN_ID = "00000000-0000-4000-8000-000000000000"
FILLED = {
    "{tenant_id}": "acme",
    "{provider}/{domain}/{template_name}": "gcp/cost/cost_billing",
    "{pipeline_id}": "acme-gcp-cost-billing",
    "{pipeline_logging_id}": RUN_ID,
    "{name}": "destination_table",
    "{api_key_id}": "a" * 12,
    "{table}": "a.b.c",
    "{config_id}": RUN_ID,
}


def calls(app: FastAPI) -> list[tuple[object, str, str]]:
    """Every route of the API as (kind of access, method, path of the tenant acme)."""
    found = []
    for route in app.routes:
        assert isinstance(route, APIRoute)
        if route in PAGE_ROUTES:
            continue
        (kind,) = auth.kinds_of(route)
        found += [(kind, method, filled(route.path)) for method in route.methods or ()]
    return found


def filled(path: str) -> str:
    for place, value in FILLED.items():
        path = path.replace(place, value)
    return path


def statuses(http: TestClient, app: FastAPI, headers: dict[str, str]) -> dict[object, set[int]]:
    """The statuses of all routes, by kind of access. Bodies are wrong on purpose: nothing runs."""
    seen: dict[object, set[int]] = {kind: set() for kind in auth.KINDS}
    for kind, method, path in calls(app):
        answer = http.request(method, path, headers=headers, json=[])
        seen[kind].add(answer.status_code)
    return seen


def test_without_a_key_only_public_routes_answer(http: TestClient, app: FastAPI) -> None:
    seen = statuses(http, app, {})
    assert seen[auth.anyone] == seen[auth.tenant] == seen[auth.operator] == {401}
    assert seen[auth.public] <= {200, 404}
    assert seen[auth.nearby] == {200}


def test_a_bad_key_is_one_answer(http: TestClient) -> None:
    for key in ("", "x", BAD, "cdp_live_", "ä"):
        for headers in ({b"X-API-Key": key.encode()}, {b"Authorization": f"Bearer {key}".encode()}):
            answer = http.get("/api/v1/tenants/acme", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "invalid_key")
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_bad_key_opens_no_route(http: TestClient, app: FastAPI, keys: Keys) -> None:
    seen = statuses(http, app, {"X-API-Key": BAD})
    assert seen[auth.anyone] == seen[auth.tenant] == seen[auth.operator] == {401}


def test_a_tenant_may_not_act_as_the_operator(http: TestClient, app: FastAPI, keys: Keys) -> None:
    seen = statuses(http, app, keys.acme)
    assert seen[auth.operator] == {403}
    assert not seen[auth.tenant] & {401, 500}


def test_another_tenant_in_the_path_is_like_an_absent_one(
    http: TestClient, app: FastAPI, keys: Keys
) -> None:
    for kind, method, path in calls(app):
        if kind is not auth.tenant:
            continue
        foreign = http.request(method, path, headers=keys.rival, json={})
        absent = http.request(method, path.replace("acme", "absent"), headers=keys.rival, json={})
        assert foreign.status_code == absent.status_code == 404, path
        assert foreign.json()["detail"] == absent.json()["detail"].replace("absent", "acme")


def test_the_operator_may_call_every_route(http: TestClient, app: FastAPI, keys: Keys) -> None:
    for kind, seen in statuses(http, app, keys.admin).items():
        assert not seen & {401, 403, 500}, kind


def test_a_wrong_admin_key_is_refused(http: TestClient, keys: Keys) -> None:
    answer = http.get("/api/v1/tenants", headers={"X-Admin-Key": "guess"})
    assert (answer.status_code, answer.json()["detail"]) == (403, "Invalid admin API key")


def test_bearer_is_as_good_as_the_header(http: TestClient, keys: Keys) -> None:
    bearer = {"Authorization": f"Bearer {keys.acme['X-API-Key']}"}
    assert http.get("/api/v1/tenants/acme", headers=bearer).status_code == 200


def test_a_revoked_key_opens_nothing(http: TestClient, keys: Keys) -> None:
    path = "/api/v1/tenants/acme/api-keys"
    made = http.post(path, json={"key_name": "ci"}, headers=keys.acme).json()
    fresh = {"X-API-Key": made["api_key"]}
    assert http.get(path, headers=fresh).status_code == 200
    assert http.delete(f"{path}/{made['api_key_id']}", headers=keys.acme).status_code == 204
    assert http.get(path, headers=fresh).status_code == 401


@pytest.mark.parametrize("scope", Scope)
def test_a_key_opens_the_routes_of_its_scope_alone(
    http: TestClient, app: FastAPI, keys: Keys, scope: Scope
) -> None:
    wanted = {"key_name": "narrow", "scopes": [scope]}
    made = http.post("/api/v1/tenants/acme/api-keys", json=wanted, headers=keys.acme).json()
    assert made["scopes"] == [scope]
    for route in app.routes:
        assert isinstance(route, APIRoute)
        if auth.kinds_of(route) & {auth.anyone, auth.tenant}:
            method, path = min(route.methods or {"GET"}), filled(route.path)
            answer = http.request(method, path, headers={"X-API-Key": made["api_key"]}, json=[])
            told = answer.json() if "json" in answer.headers.get("Content-Type", "") else {}
            is_refused = told.get("code") == "scope_missing"
            assert is_refused == (auth.scope_of(route) is not scope), (method, path)


def test_a_key_cannot_make_a_better_one(http: TestClient, keys: Keys) -> None:
    path = "/api/v1/tenants/acme/api-keys"
    wanted = {"key_name": "writer", "scopes": ["pipelines:write"]}
    writer = {"X-API-Key": http.post(path, json=wanted, headers=keys.acme).json()["api_key"]}
    assert http.post(path, json={"key_name": "all"}, headers=writer).status_code == 403
    assert http.post(path, json=wanted, headers=writer).status_code == 201


def test_a_scope_is_one_of_three(acme: TestClient) -> None:
    for scopes in ([], ["pipelines:all"], "pipelines:read", [1]):
        wanted = {"key_name": "ci", "scopes": scopes}
        assert acme.post("/api/v1/tenants/acme/api-keys", json=wanted).status_code == 422


def test_a_route_without_a_kind_of_access_stops_the_start(app: FastAPI) -> None:
    @app.get("/planted")
    def planted() -> None: ...

    with pytest.raises(TypeError, match="planted"):
        auth.check_routes(app.routes[-1:])


def test_metrics_are_for_this_machine_or_the_operator(app: FastAPI, keys: Keys) -> None:
    with TestClient(app, client=("10.0.0.9", 1)) as far:
        assert far.get("/metrics").status_code == 401
        assert far.get("/metrics", headers=keys.admin).status_code == 200


def test_without_authentication_no_header_is_needed(open_http: TestClient, keys: Keys) -> None:
    answer = open_http.get("/api/v1/tenants/acme")
    assert (answer.status_code, answer.headers["X-Auth-Disabled"]) == (200, "true")
    assert open_http.get("/api/v1/tenants").status_code == 200


def test_with_authentication_no_answer_says_it_is_off(http: TestClient) -> None:
    assert "X-Auth-Disabled" not in http.get("/health").headers


OTHER_SITES = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Host": "evil.example:8080"},
    {"Host": "evil.example:8080", "Origin": "http://evil.example:8080"},
    {"Host": "[", "Origin": "http://["},
]


def test_without_authentication_other_sites_may_not_call(open_http: TestClient, keys: Keys) -> None:
    for headers in OTHER_SITES:
        answer = open_http.post(RUN, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")


def test_without_authentication_own_pages_may_call(open_http: TestClient, keys: Keys) -> None:
    for host in ("localhost:8080", "127.0.0.1:8080", "[::1]:8080"):
        headers = {"Host": host, "Origin": f"http://{host}"}
        assert open_http.get("/api/v1/tenants/acme", headers=headers).status_code == 200
