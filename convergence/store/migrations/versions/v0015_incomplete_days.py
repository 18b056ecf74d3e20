"""Days whose newest load failed."""

import sqlalchemy as sa
from alembic import op

from convergence.store.column_types import UtcDateTime

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.create_table(
        "incomplete_days",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("table_name", sa.String(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("since", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant_id", "table_name", "day", "source", name="pk_incomplete_days"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant_profiles.tenant_id"], name="fk_incomplete_days_tenant_id"
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["pipeline_runs.run_id"], name="fk_incomplete_days_run_id"
        ),
    )
    op.create_index("ix_incomplete_days_run_id", "incomplete_days", ["run_id"])
