"""The views that are said in the schemas, as tables that a caller reads."""

from pathlib import Path

import pytest

from convergence.engine.costs import query
from convergence.engine.execute import Executor
from convergence.engine.launch import launch
from convergence.engine.ledger import publish
from convergence.engine.onboard import Onboarded
from convergence.engine.service import Service
from convergence.errors import Invalid
from convergence.model.run import LaunchRequest
from convergence.warehouse.schemas import central_views, views
from tests.conftest import grant_export

VIEWS = [*views(), *(f"tenants.{name}" for name in central_views())]


def rows(service: Service, tenant_id: str | None, sql: str) -> list[dict[str, object]]:
    result = query(service, tenant_id, sql)
    names = [name for name, _ in result.columns]
    return [dict(zip(names, row, strict=True)) for row in result.rows]


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_has_the_columns_that_are_said(
    service: Service, tenant: Onboarded, view: str
) -> None:
    said = {**views(), **central_views()}[view.removeprefix("tenants.")]
    result = query(service, "acme", f"SELECT * FROM {view}")  # noqa: S608 - a view
    assert result.columns == tuple((column.name, column.type) for column in said.columns)


def test_the_views_tell_of_runs_and_use(service: Service, tenant: Onboarded) -> None:
    grant_export(service, Path("/nowhere/*.csv"), "acme")
    request = LaunchRequest(tenant_id="acme", template="gcp/cost/cost_billing")
    run_id = launch(service, request).run.run_id
    publish(service)
    (live,) = rows(service, "acme", "SELECT * FROM currently_running_pipelines")
    assert (live["pipeline_logging_id"], live["status"]) == (run_id, "PENDING")
    Executor(service=service, worker="test").walk("acme", run_id)
    publish(service)
    assert rows(service, "acme", "SELECT * FROM currently_running_pipelines") == []
    (failed,) = rows(service, "acme", "SELECT f.* FROM `acme.failed_pipelines` AS f")
    assert failed["failed_step"] == "extract_billing_costs"
    for view in ("tenants.tenant_comprehensive_view", "tenants.pipelines_due_now", "dq_failures"):
        rows(service, "acme", f"SELECT * FROM {view}")  # noqa: S608 - a view
    (known,) = rows(service, None, "SELECT * FROM tenants.tenant_comprehensive_view")
    assert (known["tenant_id"], known["plan_name"]) == ("acme", "SCALE")
    for view in ("recent_pipeline_runs", "pipeline_execution_stats_7d"):
        rows(service, None, f"SELECT COUNT(*) FROM acme.{view} AS v")  # noqa: S608 - a view


def test_views_are_listed_and_read_like_tables(service: Service, tenant: Onboarded) -> None:
    listed = "SELECT table_name FROM INFORMATION_SCHEMA.TABLES WHERE table_type = 'VIEW'"
    named = {row["table_name"] for row in rows(service, "acme", listed)}
    assert named == set(views())
    columns = "SELECT table_name, column_name FROM INFORMATION_SCHEMA.COLUMNS ORDER BY 1, {}"
    described = rows(service, "acme", columns.format("ordinal_position"))
    for name, view in views().items():
        wanted = [column.name for column in view.columns]
        assert [each["column_name"] for each in described if each["table_name"] == name] == wanted
    joined = """
        WITH recent_pipeline_runs AS (SELECT 1 AS mine)
        SELECT mine, d.* FROM recent_pipeline_runs LEFT JOIN dq_failures AS d ON TRUE"""
    (row,) = rows(service, "acme", joined)
    assert (row["mine"], row["dq_result_id"]) == (1, None)
    with pytest.raises(Invalid, match="there is no column nope"):
        query(service, "acme", "SELECT nope FROM dq_failures")


def test_a_view_of_another_tenant_is_foreign(service: Service, tenant: Onboarded) -> None:
    with pytest.raises(Invalid, match="unknown or foreign"):
        query(service, "acme", "SELECT * FROM rival.recent_pipeline_runs")
