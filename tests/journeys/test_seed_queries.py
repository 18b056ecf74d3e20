"""Every query that the source documents print, verbatim, through the doors, over a loaded day."""

import json
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from convergence.cli.app import main
from convergence.engine import ledger
from convergence.engine.execute import Executor
from convergence.engine.launch import launch
from convergence.engine.onboard import Application, onboard
from convergence.model.run import LaunchRequest
from convergence.server import create_app
from convergence.settings.fields import Settings
from convergence.wiring import build
from tests.conftest import HEADER, export_line, grant_export
from tests.warehouse.test_seed_queries import PRINTED, TENANT

PROJECT = "gac-prod-471220"
TEMPLATE = "gcp/cost/cost_billing"
Row = dict[str, Any]
Headers = dict[str, dict[str, str]]


def is_run(row: Row) -> bool:
    return (row["status"], row["pipeline_id"]) == ("COMPLETED", f"{TENANT}-gcp-cost-billing")


def is_step(row: Row) -> bool:
    return (row["status"], row["row_count"], row["error_message"]) == ("COMPLETED", 2, None)


def is_day(row: Row) -> bool:
    counts = (row["total_rows"], row["billing_accounts"], row["services"])
    return counts == (2, 1, 1) and Decimal(row["total_cost"]) == Decimal("10.100000001")


def is_rest(row: Row) -> bool:
    return (row["daily_limit"], row["remaining_daily"], row["remaining_concurrent"]) == (6, 5, 1)


def is_usage(row: Row) -> bool:
    return (row["tenant_id"], row["pipelines_run_today"], row["daily_limit"]) == (TENANT, 1, 6)


def is_columns(row: Row) -> bool:
    return row == {"column_name": "usage_id"}


def is_use(row: Row) -> bool:
    return row == {
        "tenant_id": TENANT,
        "concurrent_pipelines_running": 0,
        "max_concurrent_reached": 1,
    }


RIGHT: list[Callable[[Row], bool]] = [
    *(is_run, is_step, is_day, is_rest, is_usage, is_usage, is_columns, is_use),
]  # fmt: skip
ASKED = [(sql, right) for (sql, _), right in zip(PRINTED, RIGHT, strict=True)]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, Headers]]:
    """The server of a tenant that loaded the day, and who may ask; by the real clock."""
    folder = tmp_path_factory.mktemp("seeds")
    service = build(Settings(home=folder / "home", project_id=PROJECT))
    applied = Application(tenant_id=TENANT, company_name="Docker", admin_email="a@example.com")
    key = onboard(service, applied).api_key
    grant_export(service, write_export(folder), TENANT)
    request = LaunchRequest(tenant_id=TENANT, template=TEMPLATE, run_date=date(2024, 11, 1))
    run = launch(service, request).run
    Executor(service=service, worker="test").walk(TENANT, run.run_id)
    ledger.publish(service)
    with TestClient(create_app(service, with_worker=False)) as http:
        yield (
            http,
            {
                "tenant": {"X-API-Key": key},
                "operator": {"X-Admin-Key": service.secrets.admin_key},
            },
        )
    service.close()


@pytest.mark.parametrize("who", ["tenant", "operator"])
@pytest.mark.parametrize(("sql", "is_right"), ASKED)
def test_every_printed_query_is_answered_over_http(
    asked: tuple[TestClient, Headers], sql: str, is_right: Callable[[Row], bool], who: str
) -> None:
    http, headers = asked
    answer = http.post("/api/v1/query", json={"sql": sql}, headers=headers[who])
    assert answer.status_code == 200, answer.text
    names = [column["name"] for column in answer.json()["columns"]]
    rows = [dict(zip(names, row, strict=True)) for row in answer.json()["rows"]]
    assert any(map(is_right, rows)), rows


def test_every_printed_query_is_answered_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GCP_PROJECT_ID", PROJECT)
    monkeypatch.setenv("CDP_HOME", str(tmp_path / "home"))
    table, files = "local.billing.export", str(write_export(tmp_path))
    for command in (
        ("tenants", "onboard", TENANT, "--email", "a@example.com"),
        ("sources", "add", table, "--files", files, "--tenant", TENANT),
        ("run", TEMPLATE, "--tenant", TENANT, "--date", "2024-11-01"),
    ):
        assert main(command) == 0, capsys.readouterr().err
    for sql, is_right in ASKED:
        capsys.readouterr()
        assert main(("sql", "--tenant", TENANT, "--json", sql)) == 0, sql
        rows = json.loads(capsys.readouterr().out)
        assert any(map(is_right, rows)), (sql, rows)


def write_export(folder: Path) -> Path:
    path = folder / "export" / "day.csv"
    path.parent.mkdir()
    lines = [export_line("2024-11-01", cost, "", "202411") for cost in ("10.10", "0.000000001")]
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return path
