"""Mails to tenants' people wait in the store until they are delivered."""

import sqlalchemy as sa
from alembic import op

from convergence.store.column_types import FreeText, UtcDateTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "outbox",
        sa.Column("notification_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("subject", FreeText(), nullable=False),
        sa.Column("text", FreeText(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("next_attempt_at", UtcDateTime(), nullable=False),
        sa.Column("sent_at", UtcDateTime()),
        sa.Column("error", FreeText()),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant_profiles.tenant_id"], name="fk_outbox_tenant_id"
        ),
        sa.PrimaryKeyConstraint("notification_id", name="pk_outbox"),
    )
    waiting = sa.text("state = 'WAITING'")
    op.create_index(
        "ix_outbox_waiting",
        "outbox",
        ["next_attempt_at"],
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
