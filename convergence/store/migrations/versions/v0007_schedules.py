"""Schedules, and the moments whose runs never came."""

import sqlalchemy as sa
from alembic import op

from convergence.store.column_types import FreeText, UtcDateTime

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    _configs()
    _misses()


def _configs() -> None:
    op.create_table(
        "tenant_pipeline_configs",
        sa.Column("config_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("domain", sa.String(), nullable=False),
        sa.Column("pipeline_template", sa.String(), nullable=False),
        sa.Column("schedule_cron", sa.String(), nullable=False),
        sa.Column("timezone", sa.String(), server_default="UTC", nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("next_run_time", UtcDateTime()),
        sa.Column("last_run_time", UtcDateTime()),
        sa.Column("last_run_status", sa.String()),
        sa.Column("last_run_id", sa.String()),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("priority", sa.Integer(), server_default=sa.text("5"), nullable=False),
        sa.Column("catch_up", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("date_offset", sa.Integer(), server_default=sa.text("-1"), nullable=False),
        sa.Column("waiting_since", UtcDateTime()),
        sa.Column("retry_at", UtcDateTime()),
        sa.Column("problem_code", sa.String()),
        sa.Column("problem", FreeText()),
        sa.Column("fingerprint", sa.String()),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime()),
        sa.Column("deleted_at", UtcDateTime()),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenant_profiles.tenant_id"],
            name="fk_tenant_pipeline_configs_tenant_id",
        ),
        sa.PrimaryKeyConstraint("config_id", name="pk_tenant_pipeline_configs"),
        sa.UniqueConstraint(
            "tenant_id", "fingerprint", name="uq_tenant_pipeline_configs_tenant_id_fingerprint"
        ),
    )
    op.create_index(
        "ix_tenant_pipeline_configs_last_run_id", "tenant_pipeline_configs", ["last_run_id"]
    )
    op.create_index(
        "ix_tenant_pipeline_configs_due",
        "tenant_pipeline_configs",
        ["next_run_time"],
        sqlite_where=sa.text("is_active"),
        postgresql_where=sa.text("is_active"),
    )


def _misses() -> None:
    op.create_table(
        "schedule_misses",
        sa.Column("config_id", sa.String(), nullable=False),
        sa.Column("first_due", UtcDateTime(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("last_due", UtcDateTime(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("reason", FreeText(), nullable=False),
        sa.Column("recorded_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["config_id"],
            ["tenant_pipeline_configs.config_id"],
            name="fk_schedule_misses_config_id",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant_profiles.tenant_id"], name="fk_schedule_misses_tenant_id"
        ),
        sa.PrimaryKeyConstraint("config_id", "first_due", name="pk_schedule_misses"),
    )
