"""Sources, templates, health, metrics, costs and queries over HTTP."""

import csv
import io
import shutil
from decimal import Decimal
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from convergence.engine.execute import Executor
from convergence.engine.service import Service
from tests.api.conftest import RUN, Keys
from tests.conftest import HEADER, export_line

SOURCES = "/api/v1/sources"
TABLE = "gac-prod-471220.cloudact.gcp_billing_export_v1_01"
PUT: dict[str, object] = {"table": TABLE, "files": "/data/*.csv", "kind": "auto"}
TEMPLATES = "/api/v1/pipelines/templates"
ROWS = [
    ("2024-11-01", "100.000000001", "-0.5", "202411"),
    ("2024-11-01", "0.1", "", "202411"),
]


def test_a_source_is_put_listed_and_removed(operator: TestClient) -> None:
    narrow = {"tenant": "rival", "billing_account_ids": ["01AB"], "project_ids": ["p"]}
    put = PUT | {"tenants": ["acme", narrow]}
    answer = operator.post(SOURCES, json=put)
    assert (answer.status_code, answer.json()) == (201, put)
    assert operator.get(SOURCES).json() == {"items": [put], "next_cursor": None}
    assert operator.delete(SOURCES, params={"table": TABLE}).status_code == 204
    assert operator.delete(f"{SOURCES}/{TABLE}").status_code == 404


WRONG_SOURCES: list[dict[str, object]] = [
    {"table": "table"},
    {"table": "a.b.c; DROP"},
    {"table": "a.b.c*d"},
    {"files": "relative/*.csv"},
    {"files": "/data/../etc/*"},
    {"files": "/data/\u0000"},
    {"kind": "aws"},
    {"tenants": ["acme", "acme"]},
    {"tenants": [{"tenant": "acme", "limit": 1}]},
    {"tenants": "acme"},
]


def test_a_wrong_source_is_422(operator: TestClient) -> None:
    for wrong in WRONG_SOURCES:
        assert operator.post(SOURCES, json=PUT | wrong).status_code == 422
        assert operator.get(SOURCES).json()["items"] == []


def test_a_source_of_an_unknown_tenant_is_404_and_not_kept(operator: TestClient) -> None:
    assert operator.post(SOURCES, json=PUT | {"tenants": ["absent"]}).status_code == 404
    assert operator.get(SOURCES).json()["items"] == []


def test_templates_are_listed_and_shown(acme: TestClient) -> None:
    listed = acme.get(TEMPLATES).json()["items"]
    assert "gcp/cost/cost_billing" in [item["template"] for item in listed]
    shown = acme.get(f"{TEMPLATES}/gcp/cost/cost_billing").json()
    assert [step["step_id"] for step in shown["steps"]] == [
        "extract_billing_costs",
        "notify_on_failure",
    ]
    assert "source_billing_table" in [variable["name"] for variable in shown["variables"]]
    assert shown["yaml"].lstrip().startswith(("#", "pipeline_id"))
    assert acme.get(f"{TEMPLATES}/gcp/cost/nothing").status_code == 404


def test_a_shown_template_is_valid(acme: TestClient) -> None:
    shown = acme.get(f"{TEMPLATES}/gcp/cost/cost_billing").json()
    for path in (f"{TEMPLATES}/validate", "/api/v1/templates/validate"):
        answer = acme.post(path, json={"yaml": shown["yaml"]})
        assert (answer.status_code, answer.json()) == (200, {"valid": True})


def test_every_fault_of_a_template_has_its_place(acme: TestClient) -> None:
    text = (
        "pipeline_id: x\nsteps:\n  - step_id: a\n    ps_type: gcp.nothing\n    timeout_minutes: x\n"
    )
    answer = acme.post(f"{TEMPLATES}/validate", json={"yaml": text})
    faults = answer.json()["errors"]
    assert answer.status_code == 422
    assert {fault["line"] for fault in faults} >= {4, 5}
    assert all(fault["file"] and fault["column"] and fault["message"] for fault in faults)


def test_health_says_what_it_is(http: TestClient) -> None:
    told = http.get("/health").json()
    assert (told["status"], told["service"], told["environment"]) == (
        "healthy",
        "convergence-data-pipeline",
        "development",
    )
    assert http.get("/health/live").json()["status"] == "alive"
    ready = http.get("/health/ready").json()
    assert ready["checks"] == {"store": "ok", "schema": "ok", "warehouse": "ok"}


def test_what_is_not_ready_is_named(http: TestClient, service: Service) -> None:
    shutil.rmtree(service.home.path / "warehouse")
    (service.home.path / "warehouse").write_text("not a folder")
    answer = http.get("/health/ready")
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (503, "not_ready")
    assert problem["checks"]["store"] == "ok"
    assert problem["checks"]["warehouse"] != "ok"
    assert "warehouse" in problem["detail"]


def test_head_is_get_without_the_body(acme: TestClient) -> None:
    for path in ("/health", "/docs", "/api/v1/tenants/acme", "/metrics"):
        head, get = acme.head(path), acme.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["Content-Type"] == get.headers["Content-Type"]


def loaded(acme: TestClient, service: Service, tmp_path: Path) -> None:
    """Write an export, load its day."""
    folder = tmp_path / "export"
    folder.mkdir(exist_ok=True)
    (folder / "a.csv").write_text("\n".join([HEADER, *(export_line(*row) for row in ROWS)]) + "\n")
    run_id = acme.post(RUN, json={"date": "2024-11-01"}).json()["pipeline_logging_id"]
    Executor(service=service, worker="test").walk("acme", run_id)


def test_costs_are_exact(acme: TestClient, service: Service, source: str, tmp_path: Path) -> None:
    loaded(acme, service, tmp_path)
    (item,) = acme.get(
        "/api/v1/costs",
        params={"from": "2024-11-01", "to": "2024-11-30", "group_by": "service,day"},
    ).json()["items"]
    assert (item["day"], item["service_id"], item["currency"], item["rows"]) == (
        "2024-11-01",
        "6F81",
        "EUR",
        2,
    )
    assert Decimal(item["cost"]) == Decimal("100.100000001")
    assert Decimal(item["net"]) == Decimal("99.600000001")
    assert acme.get("/api/v1/costs", params={"filter": "service=other"}).json()["items"] == []


def test_costs_as_csv(acme: TestClient, service: Service, source: str, tmp_path: Path) -> None:
    loaded(acme, service, tmp_path)
    answer = acme.get("/api/v1/costs", params={"format": "csv", "group_by": "project"})
    assert answer.headers["Content-Type"].startswith("text/csv")
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert (row["project_id"], Decimal(row["credits"])) == ("proj", Decimal("-0.5"))


WRONG_QUESTIONS = [
    "from=2024-13-01",
    "group_by=colour",
    "filter=service",
    "filter=x=1",
    "format=pdf",
    "from=2024-11-02&to=2024-11-01",
    "unknown=1",
]


def test_a_wrong_question_of_costs_is_422(acme: TestClient) -> None:
    for query in WRONG_QUESTIONS:
        assert acme.get(f"/api/v1/costs?{query}").status_code == 422


def test_the_operator_says_whose_costs(operator: TestClient) -> None:
    assert operator.get("/api/v1/costs").json()["code"] == "tenant_missing"
    assert operator.get("/api/v1/costs?tenant_id=acme").status_code == 200


def test_a_query_gives_exact_texts(
    acme: TestClient, service: Service, source: str, tmp_path: Path
) -> None:
    loaded(acme, service, tmp_path)
    sql = "SELECT SUM(cost) AS cost, COUNT(*) AS n FROM `local.acme.billing_cost_daily`"
    told = acme.post("/api/v1/query", json={"sql": sql}).json()
    assert [column["name"] for column in told["columns"]] == ["cost", "n"]
    assert (Decimal(told["rows"][0][0]), told["rows"][0][1]) == (Decimal("100.100000001"), 2)
    assert (told["row_count"], told["truncated"]) == (1, False)


WRONG_SQL = [
    "DROP TABLE billing_cost_daily",
    "SELECT 1; SELECT 2",
    "SELEC",
    "",
    "SELECT * FROM `local.rival.billing_cost_daily`",
    "SELECT * FROM read_csv('/etc/passwd')",
]


def test_wrong_or_refused_sql_is_4xx(acme: TestClient) -> None:
    for sql in WRONG_SQL:
        answer = acme.post("/api/v1/query", json={"sql": sql})
        assert 400 <= answer.status_code < 500
        assert answer.json()["code"]


def test_metrics_are_true_of_the_runs(
    acme: TestClient, service: Service, source: str, tmp_path: Path
) -> None:
    acme.post(RUN, json={"date": "2024-11-02"})
    assert 'active_pipelines{tenant_id="acme"} 1.0' in acme.get("/metrics").text
    loaded(acme, service, tmp_path)
    told = acme.get("/metrics").text
    ended = 'pipeline_id="acme-gcp-cost-billing",status="COMPLETED",tenant_id="acme"'
    assert f"pipeline_executions_total{{{ended}}} 1.0" in told
    assert "pipeline_duration_seconds_count 1.0" in told
    assert 'quota_utilization{quota_type="daily",tenant_id="acme"} 0.02' in told
    assert 'quota_utilization{quota_type="concurrent",tenant_id="acme"} 0.1' in told


def test_requests_are_counted_by_the_template_of_their_route(acme: TestClient) -> None:
    acme.get("/api/v1/pipelines/runs/nothing")
    route = 'route="/api/v1/pipelines/runs/{pipeline_logging_id}"'
    assert f'http_requests_total{{method="GET",{route},status="404"}} 1.0' in (
        acme.get("/metrics").text
    )


def test_one_tenant_may_not_ask_for_another(http: TestClient, keys: Keys) -> None:
    for method, path in (("GET", "/api/v1/costs"), ("POST", "/api/v1/query")):
        answer = http.request(
            method, f"{path}?tenant_id=acme", json={"sql": "SELECT 1"}, headers=keys.rival
        )
        assert answer.status_code == 404


@pytest.mark.parametrize(
    "files",
    [
        *("/*.csv", "/**/*.csv", "{home}/*.db", "{home}/warehouse/a/*.csv", "{link}/cdp.log"),
        "gs://bucket/export/*.parquet",
    ],
)
def test_a_source_cannot_open_what_the_service_keeps(
    operator: TestClient, service: Service, tmp_path: Path, files: str
) -> None:
    home = service.home.path
    (tmp_path / "link").symlink_to(home / "logs")
    glob = files.format(home=home, link=tmp_path / "link")
    answer = operator.post(SOURCES, json={"table": "a.b.c", "files": glob})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_files")
    assert operator.get(SOURCES).json()["items"] == []


@pytest.mark.parametrize("dataset", ["acme", "tenants"])
def test_a_source_cannot_have_the_name_of_a_tenants_table(
    operator: TestClient, dataset: str
) -> None:
    answer = operator.post(SOURCES, json={"table": f"local.{dataset}.export", "files": "/x/*.csv"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_table")
    assert f"{dataset} is a dataset of this service" in answer.json()["detail"]


def test_a_source_may_lie_in_a_folder_of_its_own_in_the_home(
    operator: TestClient, service: Service
) -> None:
    files = str(service.home.path / "sample" / "*.csv")
    assert operator.post(SOURCES, json={"table": "a.b.c", "files": files}).status_code < 300


def test_a_whole_answer_comes_as_csv_or_parquet(acme: TestClient) -> None:
    asked = {"sql": "SELECT x FROM UNNEST(GENERATE_ARRAY(1, 10000)) AS x, UNNEST([1, 2])"}
    assert acme.post("/api/v1/query", json=asked).json()["truncated"] is True
    whole = acme.post("/api/v1/query", json=asked, params={"format": "csv"})
    assert whole.headers["content-type"] == "text/csv; charset=utf-8"
    assert len(whole.text.splitlines()) == 20_001
    parquet = acme.post("/api/v1/query", json=asked, params={"format": "parquet"})
    assert parquet.content[:4] == parquet.content[-4:] == b"PAR1"
    assert acme.post("/api/v1/query", json=asked, params={"format": "xml"}).status_code == 422


def test_a_file_that_fails_is_an_error_and_no_short_file(acme: TestClient) -> None:
    asked = {"sql": "SELECT 1 / x FROM UNNEST([1, 0]) AS x"}
    failed = acme.post("/api/v1/query", json=asked, params={"format": "csv"})
    assert (failed.status_code, failed.json()["code"]) == (400, "sql_failed")


def test_wrong_sql_is_shown_with_its_line(acme: TestClient) -> None:
    wrong = acme.post("/api/v1/query", json={"sql": "SELECT\n  kost FROM billing_cost_daily"})
    (fault,) = wrong.json()["errors"]
    assert (fault["line"], fault["column"], fault["excerpt"]) == (
        2,
        3,
        "  kost FROM billing_cost_daily",
    )


def test_a_statement_is_explained(acme: TestClient) -> None:
    asked = {"sql": "SELECT AVG(cost) AS a FROM billing_cost_daily"}
    explained = acme.post("/api/v1/query/explain", json=asked).json()
    assert explained["columns"] == [{"name": "a", "type": "NUMERIC"}]
    assert "15 digits" in explained["notes"][0]


def test_an_answer_that_is_too_large_is_413(acme: TestClient) -> None:
    asked = {"sql": "SELECT REPEAT('x', 10000) FROM UNNEST(GENERATE_ARRAY(1, 4000)) AS x"}
    refused = acme.post("/api/v1/query", json=asked)
    assert (refused.status_code, refused.json()["code"]) == (413, "result_too_large")
