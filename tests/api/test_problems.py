"""Every error has one form, and an id that is found again in the log."""

import json
from collections.abc import Callable
from uuid import UUID

import pytest
from fastapi import FastAPI
from httpx2 import Response
from starlette.testclient import TestClient

from convergence import errors
from convergence.api import problems
from convergence.api.auth import Public
from convergence.api.middleware import REPEATABLE
from convergence.engine.service import Service
from convergence.errors import CdpError, Invalid
from tests.api.conftest import RUN, Json, Keys

MEMBERS = {
    "type", "title", "status", "detail", "code", "request_id", "errors", "hint", "error", "message"
}  # fmt: skip


def check(answer: Response, status: int, code: str) -> Json:
    """Assert that this is a whole problem; give it back."""
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == problems.MEDIA_TYPE
    problem: Json = answer.json()
    assert problem.keys() >= MEMBERS
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["message"] == problem["detail"]
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    assert str(UUID(problem["request_id"])) == problem["request_id"]
    return problem


def test_a_path_that_leads_nowhere(http: TestClient) -> None:
    check(http.get("/api/v1/nothing"), 404, "not_found")


def test_a_method_that_is_unknown(http: TestClient) -> None:
    answer = http.post("/api/v1/tenants/acme/limits")
    check(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "GET, HEAD, PATCH"


@pytest.mark.parametrize("name", ["X-API-Key", "X-Admin-Key", "Authorization", "Idempotency-Key"])
def test_a_header_of_which_one_counts_is_refused_when_it_comes_twice(
    http: TestClient, name: str
) -> None:
    twice = http.get("/api/v1/tenants/acme", headers=[(name, "one"), (name, "another")])
    problem = check(twice, 400, "duplicate_header")
    assert name in problem["detail"]


def test_a_parameter_of_which_one_counts_is_refused_when_it_comes_twice(
    acme: TestClient,
) -> None:
    twice = acme.get("/api/v1/costs?from=2024-11-01&from=2024-11-02")
    assert "'from'" in check(twice, 422, "duplicate_parameter")["detail"]
    assert acme.get("/api/v1/costs?filter=service=a&filter=service=b").status_code == 200


def test_parameters_that_may_come_twice_are_those_that_are_lists(http: TestClient) -> None:
    paths = http.get("/openapi.json").json()["paths"].values()
    given = [each for path in paths for one in path.values() for each in one.get("parameters", ())]
    schemas = [(each["name"], each["schema"]) for each in given]
    lists = {
        name
        for name, schema in schemas
        for form in [schema, *schema.get("anyOf", ())]
        if form.get("type") == "array"
    }
    assert lists == {*REPEATABLE}


def test_a_body_that_is_no_json(acme: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    problem = check(acme.post(RUN, content=b'{"date": }', headers=headers), 400, "invalid_json")
    assert "at character 10" in problem["detail"]
    check(acme.post(RUN, content=b"[" * 100_000, headers=headers), 400, "bad_request")


BROKEN = [
    ("/api/v1/tenants/onboard", b'{"company_name": "\\ud83d"}', "/company_name"),
    ("/api/v1/tenants/dryrun", b'{"company_name": "\\ud83d"}', "/company_name"),
    (RUN, b'{"variables": {"a": "\\udc00"}}', "/variables/a"),
    (RUN, b'{"\\ud83d": "beside"}', ""),
    ("/api/v1/sources", b'{"tenants": ["a", {"tenant": "\\ud83d"}]}', "/tenants/1/tenant"),
    ("/api/v1/templates/validate", b'{"yaml": "a: \\ud83d"}', "/yaml"),
    ("/api/v1/query", b'{"sql": "\\ud83d"}', "/sql"),
]


@pytest.mark.parametrize(("path", "body", "pointer"), BROKEN)
def test_half_a_character_is_refused_in_every_body(
    operator: TestClient, path: str, body: bytes, pointer: str
) -> None:
    answer = operator.post(path, content=body, headers={"Content-Type": "application/json"})
    (fault,) = check(answer, 422, "invalid_request")["errors"]
    assert fault.get("pointer", "") == pointer
    assert "surrogate" in fault["message"]


def test_a_date_that_is_a_number_is_told_its_form(acme: TestClient) -> None:
    problem = check(acme.post(RUN, json={"date": 1730419200}), 422, "invalid_request")
    assert "YYYY-MM-DD" in problem["detail"]
    assert problem["errors"][0].keys() == {"message", "pointer"}


def test_the_operators_routes_ask_for_the_operators_key(http: TestClient) -> None:
    problem = check(http.get("/api/v1/sources"), 401, "missing_key")
    assert problem["hint"].startswith("X-Admin-Key")


def test_a_body_without_its_type_says_what_is_missing(acme: TestClient) -> None:
    problem = check(acme.post("/api/v1/query", content=b"{}"), 422, "invalid_request")
    assert "application/json" in problem["detail"]


def test_a_body_that_is_too_large(acme: TestClient) -> None:
    for path in ("/api/v1/query", "/health"):
        check(acme.post(path, content=b" " * 262_145), 413, "body_too_large")


def test_a_body_that_grows_too_large_while_it_comes(acme: TestClient) -> None:
    answer = acme.post("/api/v1/query", content=(b" " * 10_000 for _ in range(30)))
    check(answer, 413, "body_too_large")


def test_what_was_sent_is_not_echoed(acme: TestClient) -> None:
    body = {"date": 20241101, "trigger_by": ["canary-value"], "variables": {"a": {"b": "canary"}}}
    answer = acme.post(RUN, json=body)
    problem = check(answer, 422, "invalid_request")
    assert "canary" not in answer.text
    pointers = {fault["pointer"] for fault in problem["errors"]}
    assert pointers >= {"/date", "/trigger_by", "/variables/a"}


def test_a_clients_own_id_is_kept_beside_ours(http: TestClient) -> None:
    answer = http.get("/health", headers={"X-Request-ID": "client-0001"})
    assert answer.headers["X-Client-Request-ID"] == "client-0001"
    assert answer.headers["X-Request-ID"] != "client-0001"


def test_an_odd_id_of_a_client_is_left_out(http: TestClient) -> None:
    for given in ("short", "x" * 65, "with space", "line\u2028feed", "ünicode1"):
        answer = http.get("/health", headers={b"X-Request-ID": given.encode()})
        assert "X-Client-Request-ID" not in answer.headers


def test_a_fault_of_ours_says_nothing_and_logs_everything(
    app: FastAPI, http: TestClient, log: Callable[[], str]
) -> None:
    @app.get("/planted")
    def planted(_service: Public) -> None:
        raise ZeroDivisionError("secret cause")

    answer = http.get("/planted", headers={"X-Request-ID": "client-0001"})
    problem = check(answer, 500, "internal_error")
    assert problem["error"] == "Internal server error"
    assert "secret cause" not in answer.text
    lines = [json.loads(line) for line in log().splitlines()]
    ours = [line for line in lines if line.get("request_id") == problem["request_id"]]
    (line,) = [line for line in ours if "exception" in line]
    assert line["client_request_id"] == "client-0001"
    assert "ZeroDivisionError: secret cause" in line["exception"]
    assert "planted" in line["exception"]


def test_a_dependency_that_fails_is_logged_with_its_trace(
    app: FastAPI, http: TestClient, log: Callable[[], str]
) -> None:
    @app.get("/planted")
    def planted(_service: Public) -> None:
        raise errors.Unavailable("the store is away", hint="start it")

    problem = check(http.get("/planted"), 503, "unavailable")
    assert problem["hint"] == "start it"
    assert problem["request_id"] in log()
    assert "Traceback" in log()


def test_each_request_is_a_line_of_the_log(http: TestClient, log: Callable[[], str]) -> None:
    answer = http.get("/health")
    (line,) = [line for line in map(json.loads, log().splitlines()) if "status" in line]
    assert (line["request_id"], line["path"], line["status"]) == (
        answer.headers["X-Request-ID"],
        "/health",
        200,
    )


def test_every_error_of_the_family_has_a_status() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    family = [kind for kind in kinds if issubclass(kind, CdpError) and kind is not CdpError]
    for kind in family:
        assert any(parent in problems.STATUS for parent in kind.__mro__), kind


def test_wrong_sql_is_400_and_a_wrong_body_422() -> None:
    assert problems.status_of(Invalid("no", code="sql_refused")) == 400
    assert problems.status_of(Invalid("no", code="invalid_date")) == 422


def test_every_answer_forbids_what_a_browser_should_not_do(http: TestClient) -> None:
    for path in ("/health", "/nothing", "/docs"):
        headers = http.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_too_many_requests_of_a_key_are_told_when_to_come_back(
    service: Service, http: TestClient, app: FastAPI, keys: Keys
) -> None:
    app.state.cdp.limit._per_minute = 3
    answers = [http.get("/api/v1/tenants/acme", headers=keys.acme) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    problem = check(answers[-1], 429, "rate_limited")
    assert answers[-1].headers["Retry-After"] == str(problem["retry_after"])
    assert http.get("/api/v1/tenants/rival", headers=keys.rival).status_code == 200


def test_guessing_keys_is_counted_against_the_address(http: TestClient, app: FastAPI) -> None:
    app.state.cdp.limit._per_minute = 3
    answers = [http.get("/api/v1/tenants", headers={"X-API-Key": "x"}) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429]
