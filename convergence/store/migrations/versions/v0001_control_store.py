"""The control store as it began: tenants, usage, sources, runs, loads, workers."""

import sqlalchemy as sa
from alembic import op

from convergence.store.column_types import FreeText, Gigabytes, UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    _tenants()
    _keys()
    _usage()
    _sources()
    _runs()
    _steps()
    _loads()
    _fleet()


def _tenants() -> None:
    op.create_table(
        "tenant_profiles",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("company_name", FreeText(), nullable=False),
        sa.Column("admin_email", FreeText(), nullable=False),
        sa.Column("tenant_dataset_id", sa.String(), nullable=False),
        sa.Column("status", sa.String(), server_default="ACTIVE", nullable=False),
        sa.Column("subscription_plan", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime()),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_tenant_profiles"),
        sa.UniqueConstraint("tenant_dataset_id", name="uq_tenant_profiles_tenant_dataset_id"),
    )
    op.create_table(
        "tenant_subscriptions",
        sa.Column("subscription_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("plan_name", sa.String(), nullable=False),
        sa.Column("status", sa.String(), server_default="ACTIVE", nullable=False),
        sa.Column("daily_limit", sa.BigInteger(), nullable=False),
        sa.Column("monthly_limit", sa.BigInteger(), nullable=False),
        sa.Column("concurrent_limit", sa.BigInteger(), nullable=False),
        sa.Column("max_team_members", sa.BigInteger(), nullable=False),
        sa.Column("max_providers", sa.BigInteger(), nullable=False),
        sa.Column("trial_end_date", sa.Date()),
        sa.Column("subscription_end_date", sa.Date()),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime()),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant_profiles.tenant_id"], name="fk_tenant_subscriptions_tenant_id"
        ),
        sa.PrimaryKeyConstraint("subscription_id", name="pk_tenant_subscriptions"),
        sa.UniqueConstraint("tenant_id", name="uq_tenant_subscriptions_tenant_id"),
    )


def _keys() -> None:
    op.create_table(
        "tenant_api_keys",
        sa.Column("api_key_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("api_key_hash", sa.String(), nullable=False),
        sa.Column("pepper_version", sa.Integer(), nullable=False),
        sa.Column("key_name", FreeText(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime()),
        sa.Column("last_used_at", UtcDateTime()),
        sa.Column("revoked_at", UtcDateTime()),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant_profiles.tenant_id"], name="fk_tenant_api_keys_tenant_id"
        ),
        sa.PrimaryKeyConstraint("api_key_id", name="pk_tenant_api_keys"),
    )
    op.create_index("ix_tenant_api_keys_tenant_id", "tenant_api_keys", ["tenant_id"])
    op.create_table(
        "tenant_variables",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", FreeText(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant_profiles.tenant_id"], name="fk_tenant_variables_tenant_id"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "name", name="pk_tenant_variables"),
    )


def _usage() -> None:
    op.create_table(
        "tenant_usage_quotas",
        sa.Column("usage_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("usage_date", sa.Date(), nullable=False),
        sa.Column(
            "pipelines_run_today", sa.BigInteger(), server_default=sa.text("0"), nullable=False
        ),
        sa.Column(
            "pipelines_succeeded_today",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column(
            "pipelines_failed_today", sa.BigInteger(), server_default=sa.text("0"), nullable=False
        ),
        sa.Column("pipelines_cancelled_today", sa.BigInteger(), server_default=sa.text("0")),
        sa.Column(
            "pipelines_run_month", sa.BigInteger(), server_default=sa.text("0"), nullable=False
        ),
        sa.Column(
            "concurrent_pipelines_running",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column("max_concurrent_reached", sa.BigInteger(), server_default=sa.text("0")),
        sa.Column("daily_limit", sa.BigInteger(), nullable=False),
        sa.Column("monthly_limit", sa.BigInteger()),
        sa.Column("concurrent_limit", sa.BigInteger(), server_default=sa.text("3")),
        sa.Column("quota_exceeded", sa.Boolean(), server_default=sa.false()),
        sa.Column("quota_warning_sent", sa.Boolean(), server_default=sa.false()),
        sa.Column("quota_exceeded_at", UtcDateTime()),
        sa.Column("total_api_calls_today", sa.BigInteger(), server_default=sa.text("0")),
        sa.Column("total_storage_used_gb", Gigabytes(), server_default="0"),
        sa.Column("last_updated", UtcDateTime(), server_default=sa.func.now(), nullable=False),
        sa.Column("last_pipeline_started_at", UtcDateTime()),
        sa.Column("last_pipeline_completed_at", UtcDateTime()),
        sa.Column("created_at", UtcDateTime(), server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant_profiles.tenant_id"], name="fk_tenant_usage_quotas_tenant_id"
        ),
        sa.PrimaryKeyConstraint("usage_id", name="pk_tenant_usage_quotas"),
        sa.UniqueConstraint(
            "tenant_id", "usage_date", name="uq_tenant_usage_quotas_tenant_id_usage_date"
        ),
    )
    op.create_index(
        "ix_tenant_usage_quotas_slots",
        "tenant_usage_quotas",
        ["tenant_id"],
        sqlite_where=sa.text("concurrent_pipelines_running > 0"),
        postgresql_where=sa.text("concurrent_pipelines_running > 0"),
    )


def _sources() -> None:
    op.create_table(
        "sources",
        sa.Column("table_name", sa.String(), nullable=False),
        sa.Column("files", FreeText()),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime()),
        sa.PrimaryKeyConstraint("table_name", name="pk_sources"),
    )
    op.create_table(
        "source_grants",
        sa.Column("table_name", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("billing_account_ids", sa.JSON(), nullable=False),
        sa.Column("project_ids", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["table_name"],
            ["sources.table_name"],
            name="fk_source_grants_table_name",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant_profiles.tenant_id"], name="fk_source_grants_tenant_id"
        ),
        sa.PrimaryKeyConstraint("table_name", "tenant_id", name="pk_source_grants"),
    )
    op.create_index("ix_source_grants_tenant_id", "source_grants", ["tenant_id"])


def _runs() -> None:
    op.create_table(
        "pipeline_runs",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("template", sa.String(), nullable=False),
        sa.Column("pipeline_id", sa.String(), nullable=False),
        sa.Column("run_date", sa.Date(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("trigger_type", sa.String(), nullable=False),
        sa.Column("trigger_by", FreeText(), nullable=False),
        sa.Column("parameter_hash", sa.String(), nullable=False),
        sa.Column("template_hash", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime()),
        sa.Column("ended_at", UtcDateTime()),
        sa.Column("cancel_requested_at", UtcDateTime()),
        sa.Column("worker", sa.String()),
        sa.Column("is_sample", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("allow_shrink", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("error_code", sa.String()),
        sa.Column("error", FreeText()),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("snapshot", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant_profiles.tenant_id"], name="fk_pipeline_runs_tenant_id"
        ),
        sa.PrimaryKeyConstraint("run_id", name="pk_pipeline_runs"),
    )
    op.create_index(
        "ix_pipeline_runs_live",
        "pipeline_runs",
        ["tenant_id", "status"],
        sqlite_where=sa.text("status IN ('PENDING', 'RUNNING')"),
        postgresql_where=sa.text("status IN ('PENDING', 'RUNNING')"),
    )
    op.create_index("ix_pipeline_runs_age", "pipeline_runs", ["created_at", "run_id", "run_date"])
    op.create_index(
        "ix_pipeline_runs_page", "pipeline_runs", ["tenant_id", "created_at", "run_id", "run_date"]
    )
    op.create_index(
        "ix_pipeline_runs_page_pipeline_id_status",
        "pipeline_runs",
        ["tenant_id", "pipeline_id", "status", "created_at", "run_id", "run_date"],
    )
    op.create_index(
        "ix_pipeline_runs_page_status",
        "pipeline_runs",
        ["tenant_id", "status", "created_at", "run_id", "run_date"],
    )
    op.create_index(
        "uq_pipeline_runs_live",
        "pipeline_runs",
        ["tenant_id", "pipeline_id", "run_date", "parameter_hash"],
        unique=True,
        sqlite_where=sa.text("status IN ('PENDING', 'RUNNING')"),
        postgresql_where=sa.text("status IN ('PENDING', 'RUNNING')"),
    )


def _steps() -> None:
    op.create_table(
        "step_logs",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("step_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("name", FreeText(), nullable=False),
        sa.Column("ps_type", sa.String(), nullable=False),
        sa.Column("step_index", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("started_at", UtcDateTime()),
        sa.Column("ended_at", UtcDateTime()),
        sa.Column("row_count", sa.BigInteger()),
        sa.Column("error_code", sa.String()),
        sa.Column("error", FreeText()),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["pipeline_runs.run_id"], name="fk_step_logs_run_id"),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant_profiles.tenant_id"], name="fk_step_logs_tenant_id"
        ),
        sa.PrimaryKeyConstraint("run_id", "step_id", name="pk_step_logs"),
    )


def _loads() -> None:
    op.create_table(
        "loads",
        sa.Column("load_id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("table_name", sa.String(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("content_hash", sa.String(), nullable=False),
        sa.Column("is_sample", sa.Boolean(), nullable=False),
        sa.Column("row_count", sa.BigInteger(), nullable=False),
        sa.Column("staged_at", UtcDateTime()),
        sa.Column("published_at", UtcDateTime()),
        sa.Column("totals", sa.JSON(), nullable=False),
        sa.Column("source_totals", sa.JSON(), nullable=False),
        sa.Column("previous", sa.JSON(), nullable=False),
        sa.Column("source_state", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["pipeline_runs.run_id"], name="fk_loads_run_id"),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant_profiles.tenant_id"], name="fk_loads_tenant_id"
        ),
        sa.PrimaryKeyConstraint("load_id", name="pk_loads"),
    )
    op.create_index("ix_loads_run_id", "loads", ["run_id"])
    op.create_index(
        "ix_loads_tenant_id_table_name_day_source_status_published_at",
        "loads",
        ["tenant_id", "table_name", "day", "source", "status", "published_at"],
    )
    op.create_table(
        "load_leases",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("table_name", sa.String(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant_profiles.tenant_id"], name="fk_load_leases_tenant_id"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "table_name", "day", "source", name="pk_load_leases"),
    )


def _fleet() -> None:
    op.create_table(
        "ledger_dirty",
        sa.Column(
            "dirty_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            sa.Identity(always=False),
            nullable=False,
        ),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("dirty_id", name="pk_ledger_dirty"),
        sa.UniqueConstraint("tenant_id", "run_id", name="uq_ledger_dirty_tenant_id_run_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "workers",
        sa.Column("worker", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("worker", name="pk_workers"),
    )
