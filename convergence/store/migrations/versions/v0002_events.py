"""What happens in a run: a row for each change of a status and each line of its log."""

import sqlalchemy as sa
from alembic import op

from convergence.store.column_types import FreeText, UtcDateTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("level", sa.String(), nullable=False),
        sa.Column("step_id", sa.String()),
        sa.Column("status", sa.String()),
        sa.Column("message", FreeText(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "sequence", name="pk_events"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_events_position", "events", ["position"])
