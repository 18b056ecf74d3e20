"""Rows become values of `model/` here, at the store's edge, and values become rows."""

from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from convergence.model.credential import Credential, CredentialType, Provider
from convergence.model.event import Event, EventKind, Level
from convergence.model.key import ApiKeyRecord
from convergence.model.load import Load, LoadKey, LoadStatus, SourceState
from convergence.model.money import totals_from_json, totals_to_json
from convergence.model.notification import Notification, NotificationState
from convergence.model.run import Run, Status, StepRun, Trigger
from convergence.model.schedule import Miss, Schedule
from convergence.model.source import Grant, Kind, Source
from convergence.model.subscription import Subscription, SubscriptionStatus
from convergence.model.tenant import Limits, Plan, Tenant, TenantStatus, WarehouseKind
from convergence.store.tables import (
    incomplete_days,
    load_leases,
    loads,
    tenant_subscriptions,
)

Row = sa.Row[Any]
LIMIT_NAMES = (
    "daily_limit",
    "monthly_limit",
    "concurrent_limit",
    "max_team_members",
    "max_providers",
    "maximum_bytes_billed",
)
SUBSCRIPTION_COLUMNS = (
    tenant_subscriptions.c.status.label("subscription_status"),
    tenant_subscriptions.c.trial_end_date,
    tenant_subscriptions.c.subscription_end_date,
)


def tenant(row: Row) -> Tenant:
    return Tenant(
        tenant_id=row.tenant_id,
        company_name=row.company_name,
        admin_email=row.admin_email,
        dataset=row.tenant_dataset_id,
        status=TenantStatus(row.status),
        plan=Plan(row.subscription_plan),
        created_at=row.created_at,
        warehouse=WarehouseKind(row.warehouse),
    )


def limits(row: Row) -> Limits:
    return Limits(**{name: row._mapping[name] for name in LIMIT_NAMES})


def subscription(row: Row) -> Subscription:
    """From a row that has SUBSCRIPTION_COLUMNS."""
    return Subscription(
        status=SubscriptionStatus(row.subscription_status),
        trial_end_date=row.trial_end_date,
        subscription_end_date=row.subscription_end_date,
    )


def limit_values(of: Limits) -> dict[str, int | None]:
    return {name: getattr(of, name) for name in LIMIT_NAMES}


def credential(row: Row) -> Credential:
    return Credential(
        tenant_id=row.tenant_id,
        provider=Provider(row.provider),
        credential_type=CredentialType(row.credential_type),
        account=row.account,
        fingerprint=row.fingerprint,
        description=row.description,
        is_active=row.is_active,
        created_at=row.created_at,
        updated_at=row.updated_at,
        sealed=row.encrypted_credentials,
    )


def api_key(row: Row) -> ApiKeyRecord:
    return ApiKeyRecord(
        key_id=row.api_key_id,
        tenant_id=row.tenant_id,
        key_hash=row.api_key_hash,
        pepper_version=row.pepper_version,
        key_name=row.key_name,
        scopes=tuple(row.scopes),
        created_at=row.created_at,
        expires_at=row.expires_at,
        is_active=row.is_active,
        last_used_at=row.last_used_at,
    )


def run(row: Row) -> Run:
    values = dict(row._mapping)
    values["trigger"] = Trigger(values.pop("trigger_type"))
    values["status"] = Status(values["status"])
    values["cancel_requested"] = values.pop("cancel_requested_at") is not None
    return Run(**values)


def run_values(of: Run) -> dict[str, Any]:
    return {
        "run_id": of.run_id,
        "tenant_id": of.tenant_id,
        "template": of.template,
        "pipeline_id": of.pipeline_id,
        "run_date": of.run_date,
        "status": of.status.value,
        "attempt": of.attempt,
        "trigger_type": of.trigger.value,
        "trigger_by": of.trigger_by,
        "parameter_hash": of.parameter_hash,
        "template_hash": of.template_hash,
        "created_at": of.created_at,
        "started_at": of.started_at,
        "ended_at": of.ended_at,
        "cancel_requested_at": of.created_at if of.cancel_requested else None,
        "worker": of.worker,
        "is_sample": of.is_sample,
        "allow_shrink": of.allow_shrink,
        "error_code": of.error_code,
        "error": of.error,
        "parameters": dict(of.parameters),
        "snapshot": dict(of.snapshot),
        "retry_of": of.retry_of,
    }


def step(row: Row) -> StepRun:
    values = dict(row._mapping)
    values["index"] = values.pop("step_index")
    values["rows"] = values.pop("row_count")
    values["status"] = Status(values["status"])
    return StepRun(**values)


def step_values(of: StepRun) -> dict[str, Any]:
    return {
        "run_id": of.run_id,
        "step_id": of.step_id,
        "tenant_id": of.tenant_id,
        "name": of.name,
        "ps_type": of.ps_type,
        "step_index": of.index,
        "status": of.status.value,
        "attempt": of.attempt,
        "started_at": of.started_at,
        "ended_at": of.ended_at,
        "row_count": of.rows,
        "error_code": of.error_code,
        "error": of.error,
        "report": dict(of.report),
    }


def event(row: Row) -> Event:
    values = dict(row._mapping)
    values["kind"] = EventKind(values["kind"])
    values["level"] = Level(values["level"])
    values["status"] = Status(values["status"]) if values["status"] else None
    return Event(**values)


def event_values(of: Event) -> dict[str, Any]:
    """Without `sequence` and `position`, which the store gives."""
    return {
        "run_id": of.run_id,
        "tenant_id": of.tenant_id,
        "at": of.at,
        "kind": of.kind.value,
        "level": of.level.value,
        "step_id": of.step_id,
        "status": of.status.value if of.status else None,
        "message": of.message,
        "facts": dict(of.facts),
    }


def notification(row: Row) -> Notification:
    values = dict(row._mapping)
    values["state"] = NotificationState(values["state"])
    del values["next_attempt_at"]
    return Notification(**values)


def notification_values(of: Notification) -> dict[str, Any]:
    return {**asdict(of), "state": of.state.value, "next_attempt_at": of.created_at}


def schedule(row: Row) -> Schedule:
    values = dict(row._mapping)
    parts = [values.pop(name) for name in ("provider", "domain", "pipeline_template")]
    for name in ("fingerprint", "deleted_at"):
        del values[name]
    return Schedule(template="/".join(parts), cron=values.pop("schedule_cron"), **values)


def schedule_values(of: Schedule) -> dict[str, Any]:
    values = asdict(of)
    provider, domain, name = values.pop("template").split("/")
    return {
        "provider": provider,
        "domain": domain,
        "pipeline_template": name,
        "schedule_cron": values.pop("cron"),
        **values,
        "parameters": dict(of.parameters),
    }


def miss(row: Row) -> Miss:
    values = dict(row._mapping)
    for name in ("tenant_id", "config_id"):
        del values[name]
    return Miss(**values)


def miss_values(of: Miss) -> dict[str, Any]:
    return asdict(of)


def source(row: Row, grants: tuple[Grant, ...]) -> Source:
    return Source(table=row.table_name, files=row.files, kind=Kind(row.kind), grants=grants)


def grant(row: Row) -> Grant:
    return Grant(
        tenant_id=row.tenant_id,
        billing_account_ids=tuple(row.billing_account_ids),
        project_ids=tuple(row.project_ids),
    )


def load(row: Row) -> Load:
    return Load(
        load_id=row.load_id,
        run_id=row.run_id,
        tenant_id=row.tenant_id,
        key=LoadKey(table=row.table_name, day=row.day, source=row.source),
        attempt=row.attempt,
        status=LoadStatus(row.status),
        totals=totals_from_json(row.totals),
        source_totals=totals_from_json(row.source_totals),
        previous=totals_from_json(row.previous),
        content_hash=row.content_hash,
        source_state=SourceState.from_json(row.source_state),
        is_sample=row.is_sample,
        rows=row.row_count,
        step_id=row.step_id,
        staged_at=row.staged_at,
        published_at=row.published_at,
    )


def load_values(of: Load) -> dict[str, Any]:
    return {
        "load_id": of.load_id,
        "run_id": of.run_id,
        "tenant_id": of.tenant_id,
        **key_values(of.key),
        "attempt": of.attempt,
        "content_hash": of.content_hash,
        "is_sample": of.is_sample,
        "row_count": of.rows,
        "step_id": of.step_id,
        "staged_at": of.staged_at,
        "totals": totals_to_json(of.totals),
        "source_totals": totals_to_json(of.source_totals),
        "previous": totals_to_json(of.previous),
        "source_state": of.source_state.to_json(),
    }


def key_values(of: LoadKey) -> dict[str, Any]:
    return {"table_name": of.table, "day": of.day, "source": of.source}


def has_key(table: sa.Table, tenant_id: str, of: LoadKey) -> sa.ColumnElement[bool]:
    """The rows of one tenant and key, of a table that has some of each."""
    if table not in (loads, load_leases, incomplete_days):
        raise ValueError(f"{table.name} has no load keys")
    values = {"tenant_id": tenant_id, **key_values(of)}
    return sa.and_(*(table.c[name] == value for name, value in values.items()))
