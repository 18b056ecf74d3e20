"""Publish what the store knows to the tenants' datasets: x_meta_* tables and the `tenants` copies.

The copies are repeatable and never read for a decision. What they lack is a set in the store, not
a place in a log: a run that changes while it is published stays in the set.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from convergence.engine import ensure
from convergence.engine.agree import check_warehouse
from convergence.engine.ensure import catch_up
from convergence.engine.service import Service
from convergence.errors import CdpError, NotFound
from convergence.model.credential import Credential
from convergence.model.key import ApiKeyRecord
from convergence.model.quality import QualityResult
from convergence.model.run import Run, StepRun
from convergence.model.schedule import Schedule
from convergence.model.subscription import Subscription
from convergence.model.tenant import Limits, Tenant
from convergence.model.usage import UsageRow
from convergence.outside.logs import Log
from convergence.store import (
    credentials,
    fleet,
    keys,
    quality,
    runs,
    schedules,
    subscriptions,
    tenants,
    usage,
    workers,
)
from convergence.store.database import ReadTx
from convergence.store.fleet import Dirty
from convergence.warehouse.base import Upsert
from convergence.warehouse.schemas import load_schema
from convergence.warehouse.sql.names import CENTRAL_DATASET

BATCH = 500
DAYS_BACK = 2
"""A finish may still change the usage row of the day its run was admitted on."""

Row = Mapping[str, Any]
Tables = dict[str, list[Row]]
"""Rows by table."""

log = Log(__name__)


def publish(service: Service, *, is_over: Callable[[], bool] = lambda: False) -> int:
    """Publish what is missing; how many runs and tenants were. One bad tenant holds up no other.

    What changes meanwhile is left to the next time: a busy service would never come to an end.
    Tenants in another warehouse wait for a process that works with it. Once it `is_over`, the
    tenants that are left wait for the next time.
    """
    published = 0
    with service.database.read() as tx:
        failed = set(fleet.elsewhere(tx, service.config.warehouse))
    is_more = True
    while is_more:
        batches, seen_at = _missing(service, failed)
        is_more = sum(map(len, batches.values())) == BATCH
        shared: dict[str, Tables] = {}
        for tenant_id, batch in batches.items():
            if is_over():
                is_more = False
                break
            try:
                shared[tenant_id] = _publish_tenant(service, tenant_id, batch, seen_at)
            except CdpError as error:
                _leave(service, tenant_id, error)
                failed.add(tenant_id)
        failed |= _publish_central(service, shared, seen_at) if shared else set()
        done = [dirty for tenant_id in shared.keys() - failed for dirty in batches[tenant_id]]
        if done:
            with service.database.write() as tx:
                fleet.clean(tx, done)
        published += len(done)
    return published


def _publish_central(service: Service, shared: Mapping[str, Tables], seen_at: datetime) -> set[str]:
    """Put them in the operator's dataset, together, or one by one where they are not taken; the
    tenants whose rows still are not.
    """
    together: Tables = defaultdict(list)
    for table, rows in chain.from_iterable(tables.items() for tables in shared.values()):
        together[table] += rows
    try:
        _put(service, CENTRAL_DATASET, together, seen_at)
    except CdpError as error:
        if len(shared) > 1:
            alone = ({tenant_id: tables} for tenant_id, tables in shared.items())
            return set().union(*(_publish_central(service, each, seen_at) for each in alone))
        for tenant_id in shared:
            _leave(service, tenant_id, error)
        return set(shared)
    return set()


def _leave(service: Service, tenant_id: str, error: CdpError) -> None:
    """To the next time, which looks again whether the datasets are there."""
    log.warning("ledger not published", tenant_id=tenant_id, error=error.detail)
    service.caught_up.clear()


def _missing(service: Service, failed: Collection[str]) -> tuple[dict[str, list[Dirty]], datetime]:
    """What to publish, and the moment after which it is read: by the store's clock, so that of two
    processes which publish one row, the later moment has the newer one. The marks are read before
    it, so that who takes a mark away has published what it stood for under a moment of its own.
    """
    by_tenant: dict[str, list[Dirty]] = defaultdict(list)
    with service.database.read() as tx:
        for dirty in fleet.dirty(tx, BATCH, but=failed):
            by_tenant[dirty.tenant_id].append(dirty)
        return by_tenant, workers.moment(tx)


def _publish_tenant(
    service: Service, tenant_id: str, batch: Sequence[Dirty], seen_at: datetime
) -> Tables:
    """Put them in the tenant's dataset; those rows that the operator's has too."""
    run_ids = [dirty.run_id for dirty in batch if dirty.run_id is not None]
    with service.database.read() as tx:
        tenant = tenants.get(tx, tenant_id)
        check_warehouse(service, tenant)
        found = runs.some(tx, tenant_id, run_ids)
        own: Tables = {
            "x_meta_pipeline_runs": [_run_row(run) for run in found],
            "x_meta_step_logs": [_step_row(step) for step in runs.steps_of(tx, tenant_id, run_ids)],
            "x_meta_dq_results": [
                _quality_row(result) for result in quality.of_runs(tx, tenant_id, run_ids)
            ],
        }
        central: Tables = {
            "tenant_usage_quotas": [asdict(row) for row in _usage(service, tx, tenant_id, found)]
        }
        if len(run_ids) < len(batch):
            own |= _own_of(tx, tenant)
            central |= _central_of(tx, tenant)
    catch_up(service, tenant.dataset)
    _put(service, tenant.dataset, {**own, **central}, seen_at)
    return central


def _put(service: Service, dataset: str, tables: Tables, seen_at: datetime) -> None:
    """The first column of a ledger table is its key. A table that is lost is made again, but in a
    tenant's dataset of a warehouse which others reach, too: there it stays for the operator.
    """
    schemas = {name: load_schema(name) for name in tables}
    upserts = [
        Upsert(schema=schema, key=schema.column_names[:1], rows=tables[name])
        for name, schema in schemas.items()
    ]
    try:
        service.warehouse.upsert_all(dataset, upserts, seen_at=seen_at)
    except NotFound:
        is_ours = dataset == CENTRAL_DATASET or not service.config.is_warehouse_shared
        if not (is_ours and ensure.make_again(service, dataset, schemas.values())):
            raise
        service.warehouse.upsert_all(dataset, upserts, seen_at=seen_at)


def _usage(service: Service, tx: ReadTx, tenant_id: str, changed: Iterable[Run]) -> list[UsageRow]:
    """The rows of the latest days, and of those on which the runs were admitted."""
    today = service.clock.now().date()
    days = {today - timedelta(days=back) for back in range(DAYS_BACK + 1)}
    return usage.some_days(tx, tenant_id, days | {run.created_at.date() for run in changed})


def _own_of(tx: ReadTx, tenant: Tenant) -> Tables:
    """What changes with the tenant itself, for its eyes alone."""
    stored = credentials.of_tenant(tx, tenant.tenant_id)
    return {
        "x_meta_api_keys": [_key_row(key) for key in keys.of_tenant(tx, tenant.tenant_id)],
        "x_meta_cloud_credentials": [_credential_row(credential) for credential in stored],
    }


def _central_of(tx: ReadTx, tenant: Tenant) -> Tables:
    """The same, for the operator too."""
    tenant_id = tenant.tenant_id
    limits, subscription = tenants.limits(tx, tenant_id), subscriptions.get(tx, tenant_id)
    arranged = schedules.of_tenant(tx, tenant_id, with_deleted=True)
    return {
        "tenant_profiles": [_profile_row(tenant)],
        "tenant_subscriptions": [_subscription_row(tenant, limits, subscription)],
        "tenant_api_keys": [_central_key_row(key) for key in keys.of_tenant(tx, tenant_id)],
        "tenant_pipeline_configs": [_schedule_row(schedule) for schedule in arranged],
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


def _credential_row(credential: Credential) -> Row:
    return {
        "credential_id": credential.credential_id,
        "tenant_id": credential.tenant_id,
        "provider": credential.provider,
        "credential_type": credential.credential_type,
        "encrypted_credential": f"{credential.account} {credential.fingerprint}".strip(),
        "created_at": credential.created_at,
        "updated_at": credential.updated_at,
        "is_active": credential.is_active,
        "description": credential.description or None,
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
