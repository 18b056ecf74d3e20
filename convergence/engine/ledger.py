"""Publish what the store knows to the tenants' datasets: x_meta_* tables and the `tenants` copies.

The copies are repeatable and never read for a decision. What they lack is a set in the store, not
a place in a log: a run that changes while it is published stays in the set.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from convergence.engine.onboard import catch_up
from convergence.engine.service import Service
from convergence.errors import CdpError
from convergence.model.key import ApiKeyRecord
from convergence.model.quality import QualityResult
from convergence.model.run import Run, StepRun
from convergence.model.schedule import Schedule
from convergence.model.subscription import Subscription
from convergence.model.tenant import Limits, Tenant
from convergence.outside.logs import Log
from convergence.store import fleet, keys, quality, runs, schedules, subscriptions, tenants, usage
from convergence.store.database import ReadTx
from convergence.store.fleet import Dirty
from convergence.warehouse.schemas import load_schema

BATCH = 500
DAYS_BACK = 2
"""A finish may still change the usage row of the day its run was admitted on."""

Row = Mapping[str, Any]

log = Log(__name__)


def publish(service: Service) -> int:
    """Publish what is missing; how many runs and tenants were. One bad tenant holds up no other.

    What changes meanwhile is left to the next time: a busy service would never come to an end.
    """
    published = 0
    failed: set[str] = set()
    is_more = True
    while is_more:
        batches = _missing(service, failed)
        is_more = sum(map(len, batches.values())) == BATCH
        for tenant_id, batch in batches.items():
            try:
                _publish_tenant(service, tenant_id, batch)
            except CdpError as error:
                log.warning("ledger not published", tenant_id=tenant_id, error=error.detail)
                failed.add(tenant_id)
                continue
            with service.database.write() as tx:
                for dirty in batch:
                    fleet.clean(tx, dirty)
            published += len(batch)
    return published


def _missing(service: Service, failed: Collection[str]) -> dict[str, list[Dirty]]:
    by_tenant: dict[str, list[Dirty]] = defaultdict(list)
    with service.database.read() as tx:
        for dirty in fleet.dirty(tx, BATCH, but=failed):
            by_tenant[dirty.tenant_id].append(dirty)
    return by_tenant


def _publish_tenant(service: Service, tenant_id: str, batch: Sequence[Dirty]) -> None:
    run_ids = [dirty.run_id for dirty in batch if dirty.run_id is not None]
    with service.database.read() as tx:
        tenant = tenants.get(tx, tenant_id)
        run_rows = [_run_row(runs.get(tx, tenant_id, run_id)) for run_id in run_ids]
        step_rows = [
            _step_row(step) for run_id in run_ids for step in runs.steps(tx, tenant_id, run_id)
        ]
        quality_rows = [
            _quality_row(result)
            for run_id in run_ids
            for result in quality.of_run(tx, tenant_id, run_id)
        ]
        central = _usage_rows(service, tx, tenant)
        if len(run_ids) < len(batch):
            central |= _central_rows(tx, tenant)
    catch_up(service, tenant.dataset)
    upsert, dataset = service.warehouse.upsert, tenant.dataset
    if run_rows:
        runs_table = load_schema("x_meta_pipeline_runs")
        upsert(dataset, runs_table, ("pipeline_logging_id",), run_rows)
    if step_rows:
        upsert(dataset, load_schema("x_meta_step_logs"), ("step_logging_id",), step_rows)
    if quality_rows:
        upsert(dataset, load_schema("x_meta_dq_results"), ("dq_result_id",), quality_rows)
    for table, rows in central.items():
        schema = load_schema(table)
        key = (schema.column_names[0],)
        if table.startswith("x_meta_"):
            upsert(dataset, schema, key, rows)
        else:
            service.warehouse.upsert_central(dataset, schema, key, rows)


def _usage_rows(service: Service, tx: ReadTx, tenant: Tenant) -> dict[str, list[Row]]:
    """The latest days, which change with every run."""
    today = service.clock.now().date()
    days = [today - timedelta(days=back) for back in range(DAYS_BACK + 1)]
    used = [usage.row(tx, tenant.tenant_id, day) for day in days]
    return {"tenant_usage_quotas": [asdict(row) for row in used if row is not None]}


def _central_rows(tx: ReadTx, tenant: Tenant) -> dict[str, list[Row]]:
    known = keys.of_tenant(tx, tenant.tenant_id)
    limits = tenants.limits(tx, tenant.tenant_id)
    subscription = subscriptions.get(tx, tenant.tenant_id)
    return {
        "tenant_profiles": [_profile_row(tenant)],
        "tenant_subscriptions": [_subscription_row(tenant, limits, subscription)],
        "tenant_api_keys": [_central_key_row(key) for key in known],
        "tenant_pipeline_configs": [
            _schedule_row(each)
            for each in schedules.of_tenant(tx, tenant.tenant_id, with_deleted=True)
        ],
        "x_meta_api_keys": [_key_row(key) for key in known],
    }


def _run_row(run: Run) -> Row:
    return {
        "pipeline_logging_id": run.run_id,
        "pipeline_id": run.pipeline_id,
        "tenant_id": run.tenant_id,
        "status": run.status,
        "trigger_type": run.trigger,
        "trigger_by": run.trigger_by,
        "start_time": run.started_at or run.created_at,
        "end_time": run.ended_at,
        "duration_ms": run.duration_ms,
        "config_version": run.template_hash,
        "worker_instance": run.worker,
        "error_message": run.error,
        "run_date": run.run_date,
        "parameters": dict(run.parameters),
    }


def _step_row(step: StepRun) -> Row:
    return {
        "step_logging_id": f"{step.run_id}/{step.step_id}",
        "pipeline_logging_id": step.run_id,
        "step_id": step.step_id,
        "step_name": step.name,
        "step_type": step.ps_type,
        "step_index": step.index,
        "status": step.status,
        "start_time": step.started_at,
        "end_time": step.ended_at,
        "duration_ms": step.duration_ms,
        "rows_processed": step.rows,
        "row_count": step.rows,
        "error_message": step.error,
        "metadata": dict(step.report),
    }


def _quality_row(result: QualityResult) -> Row:
    return {
        "dq_result_id": result.dq_result_id,
        "pipeline_logging_id": result.run_id,
        "tenant_id": result.tenant_id,
        "target_table": result.table,
        "dq_config_id": result.suite,
        "executed_at": result.executed_at,
        "expectations_passed": result.passed_count,
        "expectations_failed": len(result.failed),
        "failed_expectations": [check.to_json() for check in result.failed],
        "overall_status": result.verdict.value,
        "ingestion_date": result.day,
    }


def _profile_row(tenant: Tenant) -> Row:
    return {
        "tenant_id": tenant.tenant_id,
        "company_name": tenant.company_name,
        "admin_email": tenant.admin_email,
        "tenant_dataset_id": tenant.dataset,
        "status": tenant.status,
        "subscription_plan": tenant.plan,
        "created_at": tenant.created_at,
    }


def _subscription_row(tenant: Tenant, limits: Limits, subscription: Subscription) -> Row:
    return {
        "subscription_id": tenant.subscription_id,
        "tenant_id": tenant.tenant_id,
        "plan_name": tenant.plan,
        **asdict(subscription),
        **asdict(limits),
        "max_pipelines_per_day": limits.daily_limit,
        "max_concurrent_pipelines": limits.concurrent_limit,
        "created_at": tenant.created_at,
    }


def _schedule_row(schedule: Schedule) -> Row:
    """A deleted schedule is one that is no longer active."""
    provider, domain, name = schedule.template.split("/")
    return {
        "config_id": schedule.config_id,
        "tenant_id": schedule.tenant_id,
        "provider": provider,
        "domain": domain,
        "pipeline_template": name,
        "schedule_cron": schedule.cron,
        "timezone": schedule.timezone,
        "is_active": schedule.is_active,
        "next_run_time": schedule.next_run_time,
        "last_run_time": schedule.last_run_time,
        "last_run_status": schedule.last_run_status,
        "parameters": dict(schedule.parameters),
        "priority": schedule.priority,
        "created_at": schedule.created_at,
        "updated_at": schedule.updated_at,
    }


def _central_key_row(key: ApiKeyRecord) -> Row:
    return {
        "api_key_id": key.key_id,
        "tenant_id": key.tenant_id,
        "key_name": key.key_name,
        "scopes": list(key.scopes),
        "is_active": key.is_active,
        "expires_at": key.expires_at,
        "created_at": key.created_at,
        "last_used_at": key.last_used_at,
    }


def _key_row(key: ApiKeyRecord) -> Row:
    return {
        "api_key": key.key_id,
        "tenant_id": key.tenant_id,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "is_active": key.is_active,
        "description": key.key_name,
        "scopes": list(key.scopes),
        "last_used_at": key.last_used_at,
    }
