"""Plans: what a run would do and what would stop it, while nothing changes."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa

from convergence.engine.execute import Executor
from convergence.engine.launch import launch
from convergence.engine.onboard import Onboarded, onboard
from convergence.engine.plan import RunPlan, plan
from convergence.engine.service import Service
from convergence.errors import Invalid, NotFound
from convergence.model.run import LaunchRequest, Run
from convergence.store import tenants
from convergence.store.tables import metadata
from tests.conftest import EXPORT, application, grant_export

Export = Callable[..., Path]
DAY = date(2024, 11, 1)
REQUEST = LaunchRequest(tenant_id="acme", template="gcp/cost/cost_billing", run_date=DAY)
ROW = ("2024-11-01", "1.25", "-0.25", "202411")


def run_now(service: Service, request: LaunchRequest = REQUEST) -> Run:
    run = launch(service, request).run
    Executor(service=service, worker="test").walk("acme", run.run_id)
    return run


def codes(planned: RunPlan) -> list[str]:
    return [obstacle.code for obstacle in planned.obstacles]


def state(service: Service) -> Mapping[str, object]:
    """Every row of the store, and every file of the warehouse by its content."""
    with service.database.read() as tx:
        rows = {
            table.name: sorted(map(repr, tx.connection.execute(sa.select(table))))
            for table in metadata.sorted_tables
        }
    files = {
        str(file): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in (service.home.path / "warehouse").rglob("*")
        if file.is_file()
    }
    return {**rows, **files}


def test_a_plan_shows_what_a_run_would_read_and_write(service: Service, export: Export) -> None:
    file = export(ROW)
    planned = plan(service, REQUEST)
    assert (planned.obstacles, planned.run.pipeline_id) == ([], "acme-gcp-cost-billing")
    load, notify = planned.steps
    assert load.explained is not None
    (read,) = load.explained.reads
    assert (read.source, read.files, read.bytes) == (EXPORT, 1, file.stat().st_size)
    assert load.table == "acme.billing_cost_daily"
    assert EXPORT in load.explained.statement
    assert "2024-11-01" in load.explained.statement
    assert str(file) in load.explained.sql
    assert notify.step.trigger == "on_failure"
    assert "acme" in notify.settings["subject"]


def test_a_plan_changes_nothing(service: Service, export: Export) -> None:
    export(ROW)
    run_now(service)
    before = state(service)
    for day in (1, 2):
        plan(service, replace(REQUEST, run_date=date(2024, 11, day)))
    assert state(service) == before


def test_a_plan_says_what_the_run_wrote_the_last_time(service: Service, export: Export) -> None:
    export(ROW, ROW)
    run = run_now(service)
    planned = plan(service, replace(REQUEST, run_date=date(2024, 11, 2)))
    assert planned.last_run is not None
    assert (planned.last_run.run_id, planned.steps[0].last_rows) == (run.run_id, 2)


def test_a_plan_of_cost_sync_shows_the_query_of_a_day(service: Service, export: Export) -> None:
    export(ROW)
    planned = plan(service, replace(REQUEST, template="gcp/cost/cost_sync"))
    assert planned.obstacles == []
    assert planned.steps[0].explained is not None
    assert EXPORT in planned.steps[0].explained.statement


def test_every_value_says_where_it_comes_from(service: Service, export: Export) -> None:
    export(ROW)
    with service.database.write() as tx:
        now = service.clock.now()
        tenants.set_variable(tx, "acme", "admin_email", "team@acme.example", now=now)
    origins = {each.name: (each.value, each.origin) for each in plan(service, REQUEST).values}
    assert origins["source_billing_table"] == (EXPORT, "only source")
    assert origins["admin_email"] == ("team@acme.example", "tenant")
    assert origins["date"] == ("2024-11-01", "built-in")
    asked = replace(REQUEST, variables={"source_billing_table": EXPORT})
    origins = {each.name: (each.value, each.origin) for each in plan(service, asked).values}
    assert origins["source_billing_table"] == (EXPORT, "request")


def test_a_live_run_of_the_same_day_is_named(service: Service, export: Export) -> None:
    export(ROW)
    run = launch(service, REQUEST).run
    (obstacle,) = plan(service, REQUEST).obstacles
    assert obstacle.code == "run_live"
    assert run.run_id in obstacle.detail


def test_a_quota_that_is_used_up_stops_the_plan(service: Service, tmp_path: Path) -> None:
    onboard(service, application("small"))
    grant_export(service, tmp_path / "export" / "*.csv", "small")
    (tmp_path / "export").mkdir()
    small = replace(REQUEST, tenant_id="small")
    launch(service, small)
    planned = plan(service, replace(small, run_date=date(2024, 11, 2)))
    assert (planned.use.today, planned.use.live) == (1, 1)
    assert codes(planned) == ["quota_exceeded.concurrent", "source_missing"]


def test_a_source_without_files_stops_its_step(service: Service, export: Export) -> None:
    (obstacle,) = plan(service, REQUEST).obstacles
    assert (obstacle.code, obstacle.step_id) == ("source_missing", "extract_billing_costs")


def test_a_file_that_cannot_be_read_stops_its_step(service: Service, export: Export) -> None:
    export(ROW).write_text("no,export\n1,2\n")
    (obstacle,) = plan(service, REQUEST).obstacles
    assert obstacle.code == "source_broken"
    assert "billing_account_id" in obstacle.detail


def test_what_a_run_would_refuse_is_refused(service: Service, tenant: Onboarded) -> None:
    with pytest.raises(NotFound):
        plan(service, replace(REQUEST, template="gcp/cost/absent"))
    with pytest.raises(NotFound):
        plan(service, replace(REQUEST, tenant_id="absent"))


def test_a_source_that_cannot_be_told_stops_the_plan(
    service: Service, tenant: Onboarded, export: Export
) -> None:
    export(ROW)
    grant_export(service, Path("/nowhere/*.csv"), "acme", table="billing.exports.gcp_billing_2")
    planned = plan(service, REQUEST)
    assert codes(planned) == ["source_ambiguous"]
    assert "billing.exports.gcp_billing_2" in planned.obstacles[0].detail
    assert {each.name: each.origin for each in planned.values}["source_billing_table"] == "missing"
    onboard(service, application("bare"))
    assert codes(plan(service, replace(REQUEST, tenant_id="bare"))) == ["source_not_found"]


def test_a_variable_that_nobody_declares_is_refused(service: Service, export: Export) -> None:
    with pytest.raises(Invalid, match="declares no variable"):
        plan(service, replace(REQUEST, variables={"nope": "1"}))
