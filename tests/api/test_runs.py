"""Runs over HTTP: the source documents' fields, messages and statuses."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from convergence.engine.launch import launch
from convergence.engine.service import Service
from convergence.model.run import LaunchRequest, Run, Status
from convergence.store import runs
from tests.api.conftest import RUN, Keys

BODY = {"date": "2024-11-01", "trigger_by": "docker_test"}
FIELDS = [
    *("pipeline_logging_id", "pipeline_id", "tenant_id", "template", "status", "trigger_type"),
    *("trigger_by", "run_date", "created_at", "start_time", "end_time", "duration_ms", "attempt"),
    *("parameters", "is_sample", "cancel_requested", "retry_of", "error_code", "error"),
]
RUNS = "/api/v1/pipelines/runs"


def test_a_run_is_accepted_in_the_words_of_the_source_documents(
    acme: TestClient, source: str
) -> None:
    answer = acme.post(RUN, json=BODY)
    accepted = answer.json()
    assert answer.status_code == 202
    assert accepted.pop("pipeline_logging_id")
    assert accepted == {
        "pipeline_id": "acme-gcp-cost-billing",
        "tenant_id": "acme",
        "status": "PENDING",
        "message": "Templated pipeline cost_billing triggered successfully for acme (async mode)",
    }


ROUTES = [
    RUN,
    "/api/v1/pipelines/run/acme-gcp-cost-billing",
    "/api/v1/tenants/acme/pipelines/acme-gcp-cost-billing/run",
]


def test_the_live_run_is_given_by_each_route(acme: TestClient, source: str) -> None:
    first = acme.post(RUN, json=BODY).json()["pipeline_logging_id"]
    for path in ROUTES:
        answer = acme.post(path, json=BODY)
        assert answer.status_code == 200
        assert answer.json()["pipeline_logging_id"] == first
        assert answer.json()["message"] == (
            "Pipeline acme-gcp-cost-billing already running or pending - "
            f"returning existing execution {first}"
        )


def test_the_older_route_has_its_own_message(acme: TestClient, source: str) -> None:
    answer = acme.post("/api/v1/pipelines/run/acme-gcp-cost-billing", json=BODY)
    message = "Pipeline acme-gcp-cost-billing triggered successfully (async mode)"
    assert (answer.status_code, answer.json()["message"]) == (202, message)


def test_the_operator_may_run_by_the_pipelines_id(operator: TestClient, source: str) -> None:
    answer = operator.post("/api/v1/pipelines/run/acme-gcp-cost-billing", json=BODY)
    assert (answer.status_code, answer.json()["tenant_id"]) == (202, "acme")


def test_an_id_of_another_pipeline_is_absent(acme: TestClient) -> None:
    for pipeline in ("rival-gcp-cost-billing", "acme-gcp-cost", "x", "a" * 300):
        answer = acme.post(f"/api/v1/pipelines/run/{pipeline}", json=BODY)
        assert (answer.status_code, answer.json()["code"]) == (404, "pipeline_not_found")


def test_without_a_body_it_is_yesterday(acme: TestClient, source: str) -> None:
    run_id = acme.post(RUN).json()["pipeline_logging_id"]
    run = acme.get(f"{RUNS}/{run_id}").json()
    assert (run["run_date"], run["trigger_by"]) == ("2024-11-04", "api_user")


def test_a_run_says_whether_the_command_asked(acme: TestClient, source: str) -> None:
    asked = {"cdp/0.1.0": "2024-11-01", "curl/8.5.0": "2024-11-02"}
    seen = {}
    for agent, day in asked.items():
        answer = acme.post(RUN, json={"date": day}, headers={"User-Agent": agent})
        run = acme.get(f"{RUNS}/{answer.json()['pipeline_logging_id']}").json()
        seen[agent] = run["trigger_type"]
    assert seen == {"cdp/0.1.0": "cli", "curl/8.5.0": "api"}


def test_a_smaller_source_may_be_allowed(acme: TestClient, service: Service, source: str) -> None:
    run_id = acme.post(RUN, json=BODY | {"allow_shrink": True}).json()["pipeline_logging_id"]
    with service.database.read() as tx:
        assert runs.get(tx, "acme", run_id).allow_shrink
    assert acme.post(RUN, json=BODY | {"allow_shrink": "yes"}).status_code == 422


def test_variables_may_stand_beside_the_date(acme: TestClient, source: str) -> None:
    run_id = acme.post(RUN, json=BODY | {"destination_table": "other"}).json()[
        "pipeline_logging_id"
    ]
    run = acme.get(f"{RUNS}/{run_id}").json()
    assert run["parameters"]["destination_table"] == "other"


WRONG_BODIES: list[object] = [
    {"date": "2024-13-01"},
    {"date": "1730419200"},
    {"date": 1730419200},
    {"date": "2024-11-01'; --"},
    {"date": "20241101"},
    {"date": "2024-W44-5"},
    {"date": "2024-11-01T00:00:00"},
    {"date": "\u0662024-11-01"},
    {"date": "2024-11-01\n"},
    {"date": "9999-12-31"},
    {"date": ""},
    {"trigger_by": " "},
    {"trigger_by": "x" * 201},
    {"trigger_by": "a\nb"},
    {"variables": {"nothing": "x"}},
    {"variables": {"tenant_id": "rival"}},
    {"variables": {"destination_table": 1}},
    {"variables": {"destination_table": "a"}, "destination_table": "b"},
    {"tenant_id": "rival"},
    {"destination_table": ["x"]},
    {"unknown": "x"},
    [],
    "text",
]


def test_a_wrong_body_is_422(acme: TestClient, source: str) -> None:
    for wrong in WRONG_BODIES:
        answer = acme.post(RUN, json=wrong)
        assert answer.status_code == 422, wrong
    assert acme.get(RUNS).json()["items"] == []


def test_an_unknown_template_is_404(acme: TestClient) -> None:
    for path in ("gcp/cost/nothing", "gcp/cost/Cost-Billing", "%2e%2e/%2e%2e/x", "a%0a/b/c"):
        answer = acme.post(f"/api/v1/pipelines/run/acme/{path}", json=BODY)
        assert answer.status_code == 404


def test_the_quota_says_which_and_when_it_resets(operator: TestClient, source: str) -> None:
    operator.patch("/api/v1/tenants/acme/limits", json={"daily_limit": 1})
    operator.post(RUN, json=BODY)
    answer = operator.post(RUN, json={"date": "2024-11-02"})
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (429, "quota_exceeded.daily")
    assert problem["detail"] == (
        "Daily pipeline quota exceeded. You have run 1 pipelines today (limit: 1). "
        "Please upgrade your subscription or wait until tomorrow."
    )
    assert (problem["quota_type"], problem["current_usage"], problem["limit"]) == ("daily", 1, 1)
    assert problem["reset_at"] == "2024-11-06T00:00:00Z"
    assert int(answer.headers["Retry-After"]) == problem["retry_after"] <= 16 * 3600


def test_twenty_at_once_are_one_run(acme: TestClient, source: str) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: acme.post(RUN, json=BODY), range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [202]
    assert len({answer.json()["pipeline_logging_id"] for answer in answers}) == 1


def test_a_run_shows_its_fields_and_steps(acme: TestClient, source: str) -> None:
    run_id = acme.post(RUN, json=BODY).json()["pipeline_logging_id"]
    run = acme.get(f"{RUNS}/{run_id}").json()
    assert list(run) == [*FIELDS, "steps"]
    assert (run["status"], run["trigger_type"], run["steps"]) == ("PENDING", "api", [])
    assert run["created_at"].endswith("Z")


def test_a_run_of_another_is_like_an_absent_one(http: TestClient, keys: Keys, source: str) -> None:
    run_id = http.post(RUN, json=BODY, headers=keys.acme).json()["pipeline_logging_id"]
    absent_id = str(uuid4())
    foreign = http.get(f"{RUNS}/{run_id}", headers=keys.rival)
    absent = http.get(f"{RUNS}/{absent_id}", headers=keys.rival)
    assert foreign.status_code == absent.status_code == 404
    assert foreign.json()["detail"] == f"Pipeline run {run_id} not found for tenant rival"
    assert absent.json()["detail"] == f"Pipeline run {absent_id} not found for tenant rival"
    assert http.get(f"{RUNS}/{absent_id}", headers=keys.admin).status_code == 404
    assert http.get(f"{RUNS}/{run_id}", headers=keys.admin).status_code == 200


def many(service: Service, source: str, count: int) -> list[Run]:
    """Runs that were accepted in groups of three at the same moment."""
    request = LaunchRequest(
        tenant_id="acme", template="gcp/cost/cost_billing", run_date=date(2024, 11, 1)
    )
    first = launch(service, request).run
    made = [first]
    with service.database.write() as tx:
        for number in range(1, count):
            run = replace(
                first,
                run_id=str(uuid4()),
                run_date=date(2024, 1, 1) + timedelta(days=number),
                created_at=first.created_at + timedelta(seconds=number // 3),
                status=Status.COMPLETED if number % 2 else Status.PENDING,
            )
            runs.insert(tx, run)
            made.append(run)
    return sorted(made, key=lambda run: (run.created_at, run.run_id), reverse=True)


@pytest.mark.parametrize("who", ["acme", "admin"])
def test_pages_neither_lose_nor_double(
    http: TestClient, keys: Keys, service: Service, source: str, who: str
) -> None:
    wanted = [run.run_id for run in many(service, source, 250)]
    http.headers.update(getattr(keys, who))
    seen: list[str] = []
    cursor: str | None = None
    while cursor is not None or not seen:
        page = http.get(RUNS, params={"limit": 7} | ({"cursor": cursor} if cursor else {})).json()
        seen += [item["pipeline_logging_id"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert seen == wanted


def test_a_list_is_narrowed(acme: TestClient, service: Service, source: str) -> None:
    many(service, source, 30)

    def count(query: str) -> int:
        return len(acme.get(f"{RUNS}?limit=1000&{query}").json()["items"])

    assert count("") == 30
    assert count("status=COMPLETED") == 15
    assert count("status=COMPLETED&status=PENDING") == 30
    assert count("pipeline_id=acme-gcp-cost-billing") == 30
    assert count("pipeline_id=other") == 0
    assert count("date_from=2024-01-03&date_to=2024-01-05") == 3
    assert len(acme.get(RUNS).json()["items"]) == 20


WRONG_QUESTIONS = [
    "limit=0",
    "limit=1001",
    "limit=x",
    "status=DONE",
    "stauts=FAILED",
    "date_from=yesterday",
    "cursor=x",
    "cursor=WyJhIiwiYiJd",
    "cursor=WzEsMl0",
    "cursor=ä",
    "pipeline_id=a'b",
]


def test_a_wrong_question_is_422(acme: TestClient) -> None:
    for query in WRONG_QUESTIONS:
        assert acme.get(f"{RUNS}?{query}").status_code == 422, query


def test_a_list_of_another_tenant_is_404(acme: TestClient) -> None:
    assert acme.get(f"{RUNS}?tenant_id=rival").status_code == 404
