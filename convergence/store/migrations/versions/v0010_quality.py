"""What quality checks found."""

import sqlalchemy as sa
from alembic import op

from convergence.store.column_types import UtcDateTime

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "dq_results",
        sa.Column("dq_result_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("step_id", sa.String(), nullable=False),
        sa.Column("table_name", sa.String(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("suite", sa.String(), nullable=False),
        sa.Column("executed_at", UtcDateTime(), nullable=False),
        sa.Column("expectations_passed", sa.BigInteger(), nullable=False),
        sa.Column("expectations_failed", sa.BigInteger(), nullable=False),
        sa.Column("overall_status", sa.String(), nullable=False),
        sa.Column("checks", sa.JSON(), nullable=False),
        sa.Column("load_id", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("dq_result_id", name="pk_dq_results"),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant_profiles.tenant_id"], name="fk_dq_results_tenant_id"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["pipeline_runs.run_id"], name="fk_dq_results_run_id"),
    )
    op.create_index(
        "ix_dq_results_tenant_id_executed_at_dq_result_id",
        "dq_results",
        ["tenant_id", "executed_at", "dq_result_id"],
    )
    op.create_index("ix_dq_results_tenant_id_day", "dq_results", ["tenant_id", "day"])
    op.create_index("ix_dq_results_run_id", "dq_results", ["run_id"])
    op.create_index("ix_dq_results_load_id", "dq_results", ["load_id"])
