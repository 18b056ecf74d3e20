"""The published copies: what the store knows, in BigQuery SQL, for the tenant and the operator."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest

from convergence.engine import costs, ledger, migrate
from convergence.engine.arrange import add_schedule, remove_schedule
from convergence.engine.at_schema import State
from convergence.engine.onboard import Onboarded, onboard
from convergence.engine.service import Service
from convergence.errors import WarehouseError
from convergence.model.schedule import ScheduleRequest
from convergence.store import fleet
from convergence.warehouse.base import Upsert
from convergence.warehouse.sql.names import CENTRAL_DATASET
from tests.conftest import application
from tests.engine.test_loads import DAY, run_day
from tests.engine.test_migrate import harm

Export = Callable[..., Path]
CENTRAL_TENANTS = "SELECT tenant_id FROM tenants.tenant_profiles ORDER BY 1"


def test_runs_and_steps_are_published(service: Service, export: Export) -> None:
    export((DAY, "1.5", "", "202411"), (DAY, "2", "", "202411"))
    run = run_day(service)
    ledger.publish(service)
    sql = "SELECT pipeline_logging_id, status, duration_ms IS NOT NULL FROM x_meta_pipeline_runs"
    assert costs.query(service, "acme", sql).rows == [(run.run_id, "COMPLETED", True)]
    sql = "SELECT step_id, status, row_count FROM x_meta_step_logs ORDER BY step_index"
    assert costs.query(service, "acme", sql).rows == [
        ("extract_billing_costs", "COMPLETED", 2),
        ("notify_on_failure", "SKIPPED", None),
    ]


def test_a_second_publishing_finds_nothing_to_do(service: Service, export: Export) -> None:
    export((DAY, "1", "", "202411"))
    run_day(service)
    assert ledger.publish(service) > 0
    assert ledger.publish(service) == 0


def test_a_tenant_sees_its_own_central_rows_and_the_operator_all(
    service: Service, tenant: Onboarded
) -> None:
    onboard(service, application("globex"))
    ledger.publish(service)
    sql = "SELECT tenant_id, subscription_plan FROM tenants.tenant_profiles ORDER BY 1"
    assert costs.query(service, "acme", sql).rows == [("acme", "SCALE")]
    assert costs.query(service, None, sql).rows == [("acme", "SCALE"), ("globex", "STARTER")]


def test_keys_are_published_without_their_secret(service: Service, tenant: Onboarded) -> None:
    ledger.publish(service)
    ((row,),) = costs.query(service, "acme", "SELECT api_key FROM x_meta_api_keys").rows
    assert row in tenant.api_key
    assert tenant.api_key.split("_")[3] not in row


def test_schedules_are_published_and_a_deleted_one_is_not_active(
    service: Service, tenant: Onboarded
) -> None:
    wanted = ScheduleRequest(template="gcp/cost/cost_billing", cron="0 3 * * *", priority=2)
    kept = add_schedule(service, "acme", wanted)
    gone = add_schedule(service, "acme", replace(wanted, cron="0 4 * * *"))
    remove_schedule(service, "acme", gone.config_id)
    ledger.publish(service)
    sql = """
        SELECT config_id, pipeline_template, schedule_cron, timezone, priority, is_active
        FROM tenants.tenant_pipeline_configs ORDER BY schedule_cron
    """
    assert costs.query(service, "acme", sql).rows == [
        (kept.config_id, "cost_billing", "0 3 * * *", "UTC", 2, True),
        (gone.config_id, "cost_billing", "0 4 * * *", "UTC", 2, False),
    ]


def test_the_usage_row_of_the_seed_is_published(service: Service, export: Export) -> None:
    export((DAY, "1", "", "202411"))
    run_day(service)
    ledger.publish(service)
    sql = """
        SELECT tenant_id, pipelines_run_today, daily_limit, concurrent_pipelines_running,
          (daily_limit - pipelines_run_today) as remaining_daily, total_storage_used_gb
        FROM `local.tenants.tenant_usage_quotas` WHERE tenant_id = 'acme'
    """
    ((*counts, stored),) = costs.query(service, "acme", sql).rows
    assert counts == ["acme", 1, 100, 0, 99]
    assert isinstance(stored, Decimal)


def test_a_broken_tenant_holds_up_no_other(service: Service, tenant: Onboarded) -> None:
    onboard(service, application("broken"))
    service.warehouse.drop_dataset("broken")
    (service.config.home / "warehouse" / "broken.duckdb").write_bytes(b"no database")
    ledger.publish(service)
    assert costs.query(service, "acme", "SELECT COUNT(*) FROM tenants.tenant_profiles").rows == [
        (1,)
    ]
    with service.database.read() as tx:
        assert {dirty.tenant_id for dirty in fleet.dirty(tx, 10)} == {"broken"}


def test_a_broken_dataset_of_the_operator_holds_up_no_tenant(
    service: Service, tenant: Onboarded
) -> None:
    service.warehouse.drop_dataset(CENTRAL_DATASET)
    file = service.config.home / "warehouse" / f"{CENTRAL_DATASET}.duckdb"
    file.write_bytes(b"no database")
    key = onboard(service, application("globex")).api_key
    assert ledger.publish(service) == 0
    ((seen,),) = costs.query(service, "globex", "SELECT api_key FROM x_meta_api_keys").rows
    assert seen in key
    file.unlink()
    while ledger.publish(service):
        pass
    assert costs.query(service, None, CENTRAL_TENANTS).rows == [("acme",), ("globex",)]


def test_copies_that_were_lost_are_made_again_whole(service: Service, export: Export) -> None:
    lost = "SELECT COUNT(*) FROM x_meta_pipeline_runs", "SELECT COUNT(*) FROM x_meta_api_keys"
    usage = "SELECT SUM(pipelines_run_today) FROM tenants.tenant_usage_quotas"
    export((DAY, "1", "", "202411"))
    run_day(service)
    ledger.publish(service)
    service.close()
    harm(service.home.path, "acme", "DROP TABLE x_meta_pipeline_runs", "DROP TABLE x_meta_api_keys")
    (service.home.path / "warehouse" / f"{CENTRAL_DATASET}.duckdb").unlink()
    assert State.DRIFTED in {state.state for state in migrate.status(service)}
    assert {state.state for state in migrate.bring(service)} == {State.CURRENT}
    ledger.publish(service)
    assert [costs.query(service, "acme", sql).rows for sql in lost] == [[(1,)], [(1,)]]
    assert costs.query(service, None, CENTRAL_TENANTS).rows == [("acme",)]
    assert costs.query(service, None, usage).rows == [(1,)]


def test_a_question_to_the_operators_dataset_that_is_lost_lets_it_be_filled_again(
    service: Service, tenant: Onboarded
) -> None:
    service.close()
    (service.home.path / "warehouse" / f"{CENTRAL_DATASET}.duckdb").unlink()
    assert costs.query(service, None, CENTRAL_TENANTS).rows == []
    ledger.publish(service)
    assert costs.query(service, None, CENTRAL_TENANTS).rows == [("acme",)]


def test_a_copy_that_is_missing_is_made_again_with_what_was_published_before(
    service: Service, export: Export
) -> None:
    export((DAY, "1", "", "202411"))
    run_day(service)
    ledger.publish(service)
    service.close()
    harm(service.home.path, "acme", "DROP TABLE x_meta_pipeline_runs")
    run_day(service)
    while ledger.publish(service):
        pass
    sql = "SELECT COUNT(*) FROM x_meta_pipeline_runs"
    assert costs.query(service, "acme", sql).rows == [(2,)]


def test_rows_that_the_operators_dataset_refuses_hold_up_no_other(
    service: Service, tenant: Onboarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    onboard(service, application("globex"))
    onboard(service, application("refused"))
    put = service.warehouse.upsert_all

    def choosy(dataset: str, upserts: Sequence[Upsert], *, seen_at: datetime) -> None:
        """It takes no row of one tenant."""
        if dataset == CENTRAL_DATASET and "refused" in str(upserts):
            raise WarehouseError("a row is refused")
        put(dataset, upserts, seen_at=seen_at)

    monkeypatch.setattr(service.warehouse, "upsert_all", choosy)
    ledger.publish(service)
    assert ("globex",) in costs.query(service, None, CENTRAL_TENANTS).rows
    with service.database.read() as tx:
        assert {dirty.tenant_id for dirty in fleet.dirty(tx, 10)} == {"refused"}


def test_a_publishing_that_is_over_leaves_the_others_to_the_next_one(
    service: Service, tenant: Onboarded
) -> None:
    for name in ("globex", "initech"):
        onboard(service, application(name))
    answers = iter([False, True])
    ledger.publish(service, is_over=lambda: next(answers))
    with service.database.read() as tx:
        left = {dirty.tenant_id for dirty in fleet.dirty(tx, 10)}
    assert len(left) == 1
    assert left < {"globex", "initech"}
    ledger.publish(service)
    with service.database.read() as tx:
        assert not list(fleet.dirty(tx, 10))
