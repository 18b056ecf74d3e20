"""The schema of the control store, said once. Migrations lead to it; a test holds them equal."""

import sqlalchemy as sa

from convergence.model.notification import NotificationState
from convergence.model.run import LIVE
from convergence.store.column_types import FreeText, Gigabytes, UtcDateTime

REVISION = "0017"
"""The migration that leads to this schema; what a database says of itself is compared with it."""

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def _tenant_id(*, primary_key: bool = False) -> sa.Column[str]:
    key = sa.ForeignKey("tenant_profiles.tenant_id")
    return sa.Column("tenant_id", sa.String, key, primary_key=primary_key, nullable=False)


def _moment(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, UtcDateTime, nullable=nullable)


def _count(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=nullable, server_default=sa.text("0"))


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, FreeText, nullable=False)


def _json(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.JSON, nullable=False)


tenant_profiles = sa.Table(
    "tenant_profiles",
    metadata,
    sa.Column("tenant_id", sa.String, primary_key=True),
    _text("company_name"),
    _text("admin_email"),
    sa.Column("tenant_dataset_id", sa.String, nullable=False, unique=True),
    sa.Column("status", sa.String, nullable=False, server_default="ACTIVE"),
    sa.Column("subscription_plan", sa.String, nullable=False),
    _moment("created_at"),
    _moment("updated_at", nullable=True),
    sa.Column("warehouse", sa.String, nullable=False, server_default="duckdb"),
)

tenant_subscriptions = sa.Table(
    "tenant_subscriptions",
    metadata,
    sa.Column("subscription_id", sa.String, primary_key=True),
    _tenant_id(),
    sa.Column("plan_name", sa.String, nullable=False),
    sa.Column("status", sa.String, nullable=False, server_default="ACTIVE"),
    _number("daily_limit"),
    _number("monthly_limit"),
    _number("concurrent_limit"),
    _number("max_team_members"),
    _number("max_providers"),
    sa.Column("trial_end_date", sa.Date),
    sa.Column("subscription_end_date", sa.Date),
    _moment("created_at"),
    _moment("updated_at", nullable=True),
    sa.Column("maximum_bytes_billed", sa.BigInteger),
    sa.UniqueConstraint("tenant_id"),
)

tenant_api_keys = sa.Table(
    "tenant_api_keys",
    metadata,
    sa.Column("api_key_id", sa.String, primary_key=True),
    _tenant_id(),
    sa.Column("api_key_hash", sa.String, nullable=False),
    sa.Column("pepper_version", sa.Integer, nullable=False),
    _text("key_name"),
    _json("scopes"),
    sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()),
    _moment("created_at"),
    _moment("expires_at", nullable=True),
    _moment("last_used_at", nullable=True),
    _moment("revoked_at", nullable=True),
    sa.Index(None, "tenant_id"),
)

tenant_cloud_credentials = sa.Table(
    "tenant_cloud_credentials",
    metadata,
    sa.Column("credential_id", sa.String, primary_key=True),
    _tenant_id(),
    sa.Column("provider", sa.String, nullable=False),
    sa.Column("credential_type", sa.String, nullable=False),
    sa.Column("account", sa.String, nullable=False),
    sa.Column("fingerprint", sa.String, nullable=False),
    _text("description"),
    sa.Column("encrypted_credentials", sa.LargeBinary),
    sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()),
    _moment("created_at"),
    _moment("updated_at"),
    sa.UniqueConstraint("tenant_id", "provider"),
)

tenant_usage_quotas = sa.Table(
    "tenant_usage_quotas",
    metadata,
    sa.Column("usage_id", sa.String, primary_key=True),
    _tenant_id(),
    sa.Column("usage_date", sa.Date, nullable=False),
    _count("pipelines_run_today"),
    _count("pipelines_succeeded_today"),
    _count("pipelines_failed_today"),
    _count("pipelines_cancelled_today", nullable=True),
    _count("pipelines_run_month"),
    _count("concurrent_pipelines_running"),
    _count("max_concurrent_reached", nullable=True),
    _number("daily_limit"),
    sa.Column("monthly_limit", sa.BigInteger),
    sa.Column("concurrent_limit", sa.BigInteger, server_default=sa.text("3")),
    sa.Column("quota_exceeded", sa.Boolean, server_default=sa.false()),
    sa.Column("quota_warning_sent", sa.Boolean, server_default=sa.false()),
    _moment("quota_exceeded_at", nullable=True),
    _count("total_api_calls_today", nullable=True),
    sa.Column("total_storage_used_gb", Gigabytes, server_default="0"),
    sa.Column("last_updated", UtcDateTime, nullable=False, server_default=sa.func.now()),
    _moment("last_pipeline_started_at", nullable=True),
    _moment("last_pipeline_completed_at", nullable=True),
    sa.Column("created_at", UtcDateTime, nullable=False, server_default=sa.func.now()),
    sa.UniqueConstraint("tenant_id", "usage_date"),
)
_holds_slots = tenant_usage_quotas.c.concurrent_pipelines_running > sa.literal_column("0")
sa.Index(
    "ix_tenant_usage_quotas_slots",
    tenant_usage_quotas.c.tenant_id,
    sqlite_where=_holds_slots,
    postgresql_where=_holds_slots,
)

tenant_variables = sa.Table(
    "tenant_variables",
    metadata,
    _tenant_id(primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    _text("value"),
    _moment("updated_at"),
)

sources = sa.Table(
    "sources",
    metadata,
    sa.Column("table_name", sa.String, primary_key=True),
    sa.Column("files", FreeText),
    sa.Column("kind", sa.String, nullable=False),
    _moment("created_at"),
    _moment("updated_at", nullable=True),
)

source_grants = sa.Table(
    "source_grants",
    metadata,
    sa.Column(
        "table_name",
        sa.String,
        sa.ForeignKey("sources.table_name", ondelete="CASCADE"),
        primary_key=True,
    ),
    _tenant_id(primary_key=True),
    _json("billing_account_ids"),
    _json("project_ids"),
    sa.Index(None, "tenant_id"),
)

pipeline_runs = sa.Table(
    "pipeline_runs",
    metadata,
    sa.Column("run_id", sa.String, primary_key=True),
    _tenant_id(),
    sa.Column("template", sa.String, nullable=False),
    sa.Column("pipeline_id", sa.String, nullable=False),
    sa.Column("run_date", sa.Date, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("attempt", sa.BigInteger, nullable=False),
    sa.Column("trigger_type", sa.String, nullable=False),
    _text("trigger_by"),
    sa.Column("parameter_hash", sa.String, nullable=False),
    sa.Column("template_hash", sa.String, nullable=False),
    _moment("created_at"),
    _moment("started_at", nullable=True),
    _moment("ended_at", nullable=True),
    _moment("cancel_requested_at", nullable=True),
    sa.Column("worker", sa.String),
    sa.Column("is_sample", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("allow_shrink", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("error_code", sa.String),
    sa.Column("error", FreeText),
    _json("parameters"),
    _json("snapshot"),
    sa.Column("retry_of", sa.String),
)

IS_LIVE = pipeline_runs.c.status.in_([sa.literal_column(f"'{status}'") for status in sorted(LIVE)])
"""Written into the statement, not bound, so that SQLite may use the index on live runs."""

sa.Index(
    "uq_pipeline_runs_live",
    pipeline_runs.c.tenant_id,
    pipeline_runs.c.pipeline_id,
    pipeline_runs.c.run_date,
    pipeline_runs.c.parameter_hash,
    unique=True,
    sqlite_where=IS_LIVE,
    postgresql_where=IS_LIVE,
)
sa.Index(
    "ix_pipeline_runs_live",
    pipeline_runs.c.tenant_id,
    pipeline_runs.c.status,
    sqlite_where=IS_LIVE,
    postgresql_where=IS_LIVE,
)
# Each list of runs reads one of these backwards from a cursor; run_date filters inside the index.
_PAGE = ("created_at", "run_id", "run_date")
sa.Index("ix_pipeline_runs_age", *(pipeline_runs.c[name] for name in _PAGE))
for _prefix in ((), ("status",), ("pipeline_id", "status")):
    sa.Index(
        "_".join(("ix_pipeline_runs_page", *_prefix)),
        *(pipeline_runs.c[name] for name in ("tenant_id", *_prefix, *_PAGE)),
    )

step_logs = sa.Table(
    "step_logs",
    metadata,
    sa.Column("run_id", sa.String, sa.ForeignKey("pipeline_runs.run_id"), primary_key=True),
    sa.Column("step_id", sa.String, primary_key=True),
    _tenant_id(),
    _text("name"),
    sa.Column("ps_type", sa.String, nullable=False),
    sa.Column("step_index", sa.Integer, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("attempt", sa.BigInteger, nullable=False),
    _moment("started_at", nullable=True),
    _moment("ended_at", nullable=True),
    sa.Column("row_count", sa.BigInteger),
    sa.Column("error_code", sa.String),
    sa.Column("error", FreeText),
    _json("report"),
)

# No foreign key: an event is written by who holds its run's row, in the busiest transactions.
events = sa.Table(
    "events",
    metadata,
    sa.Column("run_id", sa.String, nullable=False),
    sa.Column("sequence", sa.BigInteger, autoincrement=False, nullable=False),
    _number("position"),
    sa.Column("tenant_id", sa.String, nullable=False),
    _moment("at"),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("level", sa.String, nullable=False),
    sa.Column("step_id", sa.String),
    sa.Column("status", sa.String),
    _text("message"),
    _json("facts"),
    sa.PrimaryKeyConstraint("run_id", "sequence"),
    sa.Index(None, "position"),
    sqlite_with_rowid=False,
)

loads = sa.Table(
    "loads",
    metadata,
    sa.Column("load_id", sa.String, primary_key=True),
    sa.Column("run_id", sa.String, sa.ForeignKey("pipeline_runs.run_id"), nullable=False),
    _tenant_id(),
    sa.Column("table_name", sa.String, nullable=False),
    sa.Column("day", sa.Date, nullable=False),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("attempt", sa.BigInteger, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("content_hash", sa.String, nullable=False),
    sa.Column("is_sample", sa.Boolean, nullable=False),
    _number("row_count"),
    _moment("staged_at", nullable=True),
    _moment("published_at", nullable=True),
    _json("totals"),
    _json("source_totals"),
    _json("previous"),
    _json("source_state"),
    sa.Column("step_id", sa.String, nullable=False, server_default=""),
    sa.Index(None, "tenant_id", "table_name", "day", "source", "status", "published_at"),
    sa.Index(None, "tenant_id", "published_at"),
    sa.Index(None, "run_id"),
)

# The newest load of the day failed; `since` the first that did. A day that cannot be told is every
# day: 0001-01-01.
incomplete_days = sa.Table(
    "incomplete_days",
    metadata,
    _tenant_id(primary_key=True),
    sa.Column("table_name", sa.String, primary_key=True),
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("source", sa.String, primary_key=True),
    sa.Column("run_id", sa.String, sa.ForeignKey("pipeline_runs.run_id"), nullable=False),
    sa.Column("code", sa.String, nullable=False),
    _moment("since"),
    sa.Index(None, "run_id"),
)

# What tells a tenant's kept answers from those of today's data: see `versions.py`.
data_versions = sa.Table(
    "data_versions",
    metadata,
    _tenant_id(primary_key=True),
    _number("version"),
)

load_leases = sa.Table(
    "load_leases",
    metadata,
    _tenant_id(primary_key=True),
    sa.Column("table_name", sa.String, primary_key=True),
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("source", sa.String, primary_key=True),
    sa.Column("run_id", sa.String, nullable=False),
    sa.Column("attempt", sa.BigInteger, nullable=False),
    _moment("expires_at"),
)


# What was seen of each source, a file at a time, when its days were last as the source is.
def _of_source() -> list[sa.Column[str]]:
    return [
        _tenant_id(primary_key=True),
        sa.Column("table_name", sa.String, primary_key=True),
        sa.Column("source", sa.String, primary_key=True),
    ]


source_watermarks = sa.Table(
    "source_watermarks",
    metadata,
    *_of_source(),
    _text("narrowing"),
    _moment("watermark", nullable=True),
    _moment("synced_at"),
    sa.Column("run_id", sa.String, nullable=False),
)

source_units = sa.Table(
    "source_units",
    metadata,
    *_of_source(),
    sa.Column("path", FreeText, primary_key=True),
    _number("size"),
    _number("mtime_ns"),
    sa.Column("content_hash", sa.String, nullable=False),
    _json("columns"),
    _json("accounts"),
    _moment("seen_at"),
    sa.Column("ctime_ns", sa.BigInteger, nullable=False, server_default="0"),
)

source_unit_days = sa.Table(
    "source_unit_days",
    metadata,
    *_of_source(),
    sa.Column("path", FreeText, primary_key=True),
    sa.Column("day", sa.Date, primary_key=True),
    _number("row_count"),
    _json("totals"),
    _moment("max_export_time", nullable=True),
)

# Money is text in its one plain form. A row without recorded_at belongs to a load that is staged.
restatements = sa.Table(
    "restatements",
    metadata,
    sa.Column("load_id", sa.String, sa.ForeignKey("loads.load_id"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    _tenant_id(),
    sa.Column("table_name", sa.String, nullable=False),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("usage_date", sa.Date, nullable=False),
    _text("invoice_month"),
    _text("service_id"),
    _text("project_id"),
    _text("currency"),
    *(_number(f"{side}_rows") for side in ("old", "new")),
    *(
        sa.Column(f"{side}_{what}", sa.String, nullable=False)
        for side in ("old", "new")
        for what in ("cost", "credits")
    ),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("run_id", sa.String, nullable=False),
    sa.Column("old_run_id", sa.String, nullable=False),
    _moment("recorded_at", nullable=True),
    sa.Index(None, "tenant_id", "recorded_at", "load_id", "position"),
)

dq_results = sa.Table(
    "dq_results",
    metadata,
    sa.Column("dq_result_id", sa.String, primary_key=True),
    _tenant_id(),
    sa.Column("run_id", sa.String, sa.ForeignKey("pipeline_runs.run_id"), nullable=False),
    sa.Column("step_id", sa.String, nullable=False),
    sa.Column("table_name", sa.String, nullable=False),
    sa.Column("day", sa.Date, nullable=False),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("suite", sa.String, nullable=False),
    _moment("executed_at"),
    _number("expectations_passed"),
    _number("expectations_failed"),
    sa.Column("overall_status", sa.String, nullable=False),
    _json("checks"),
    sa.Column("load_id", sa.String),
    sa.Index(None, "tenant_id", "executed_at", "dq_result_id"),
    sa.Index(None, "tenant_id", "day"),
    sa.Index(None, "run_id"),
    sa.Index(None, "load_id"),
)

invoice_months = sa.Table(
    "invoice_months",
    metadata,
    _tenant_id(primary_key=True),
    sa.Column("table_name", sa.String, primary_key=True),
    sa.Column("invoice_month", FreeText, primary_key=True),
    _moment("changed_at"),
    sa.Column("run_id", sa.String, nullable=False),
)

# What the published copies lack: a run with its steps, or (run_id '') a tenant's central rows.
ledger_dirty = sa.Table(
    "ledger_dirty",
    metadata,
    sa.Column(
        "dirty_id",
        sa.BigInteger().with_variant(sa.Integer, "sqlite"),
        sa.Identity(),
        nullable=False,
    ),
    sa.Column("tenant_id", sa.String, nullable=False),
    sa.Column("run_id", sa.String, nullable=False),
    _number("version"),
    sa.PrimaryKeyConstraint("dirty_id"),
    sa.UniqueConstraint("tenant_id", "run_id"),
    sqlite_autoincrement=True,
)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("worker", sa.String, primary_key=True),
    sa.Column("version", sa.String, nullable=False),
    _moment("started_at"),
    _moment("seen_at"),
    sa.Column("engine", sa.String, nullable=False),
)

# What the processes on this store agree on; the first to say it decides.
deployment = sa.Table(
    "deployment",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
)

# Not called notifications: the durable engine has a table of that name in the same SQLite file.
outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("notification_id", sa.String, primary_key=True),
    _tenant_id(),
    _text("subject"),
    _text("text"),
    sa.Column("state", sa.String, nullable=False),
    _number("attempts"),
    _moment("created_at"),
    _moment("next_attempt_at"),
    _moment("sent_at", nullable=True),
    sa.Column("error", FreeText),
)
IS_WAITING = outbox.c.state == sa.literal_column(f"'{NotificationState.WAITING}'")
"""Written into the statement, as `IS_LIVE` is."""
sa.Index(
    "ix_outbox_waiting",
    outbox.c.next_attempt_at,
    sqlite_where=IS_WAITING,
    postgresql_where=IS_WAITING,
)

web_sessions = sa.Table(
    "web_sessions",
    metadata,
    sa.Column("session_hash", sa.String, primary_key=True),
    sa.Column("tenant_id", sa.String),  # NULL is the operator
    sa.Column("key_id", sa.String),
    _moment("created_at"),
    _moment("seen_at"),
)

sign_in_links = sa.Table(
    "sign_in_links",
    metadata,
    sa.Column("link_hash", sa.String, primary_key=True),
    sa.Column("tenant_id", sa.String),  # NULL is the operator
    _moment("created_at"),
)

tenant_pipeline_configs = sa.Table(
    "tenant_pipeline_configs",
    metadata,
    sa.Column("config_id", sa.String, primary_key=True),
    _tenant_id(),
    sa.Column("provider", sa.String, nullable=False),
    sa.Column("domain", sa.String, nullable=False),
    sa.Column("pipeline_template", sa.String, nullable=False),
    sa.Column("schedule_cron", sa.String, nullable=False),
    sa.Column("timezone", sa.String, nullable=False, server_default="UTC"),
    sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()),
    _moment("next_run_time", nullable=True),
    _moment("last_run_time", nullable=True),
    sa.Column("last_run_status", sa.String),
    sa.Column("last_run_id", sa.String),
    _json("parameters"),
    sa.Column("priority", sa.Integer, nullable=False, server_default=sa.text("5")),
    sa.Column("catch_up", sa.Integer, nullable=False, server_default=sa.text("1")),
    sa.Column("date_offset", sa.Integer, nullable=False, server_default=sa.text("-1")),
    _moment("waiting_since", nullable=True),
    _moment("retry_at", nullable=True),
    sa.Column("problem_code", sa.String),
    sa.Column("problem", FreeText),
    sa.Column("fingerprint", sa.String),
    _moment("created_at"),
    _moment("updated_at", nullable=True),
    _moment("deleted_at", nullable=True),
    sa.UniqueConstraint("tenant_id", "fingerprint"),
    sa.Index(None, "last_run_id"),
)
sa.Index(
    "ix_tenant_pipeline_configs_due",
    tenant_pipeline_configs.c.next_run_time,
    sqlite_where=sa.text("is_active"),
    postgresql_where=sa.text("is_active"),
)

schedule_misses = sa.Table(
    "schedule_misses",
    metadata,
    sa.Column(
        "config_id",
        sa.String,
        sa.ForeignKey("tenant_pipeline_configs.config_id"),
        primary_key=True,
    ),
    sa.Column("first_due", UtcDateTime, primary_key=True),
    _tenant_id(),
    _moment("last_due"),
    _number("count"),
    sa.Column("code", sa.String, nullable=False),
    _text("reason"),
    _moment("recorded_at"),
)

# No foreign key: the operator's requests have no tenant. `status` is NULL while one is under way.
idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("tenant_id", sa.String, primary_key=True),
    sa.Column("route", sa.String, primary_key=True),
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("digest", sa.String, nullable=False),
    _moment("taken_at"),
    sa.Column("status", sa.Integer),
    sa.Column("body", sa.JSON),
    sa.Index(None, "taken_at"),
)
