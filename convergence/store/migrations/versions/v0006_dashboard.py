"""The dashboard: who is signed in, links to sign in by, and which load is a tenant's newest."""

import sqlalchemy as sa
from alembic import op

from convergence.store.column_types import UtcDateTime

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "web_sessions",
        sa.Column("session_hash", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String()),
        sa.Column("key_id", sa.String()),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("session_hash", name="pk_web_sessions"),
    )
    op.create_table(
        "sign_in_links",
        sa.Column("link_hash", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String()),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("link_hash", name="pk_sign_in_links"),
    )
    op.create_index("ix_loads_tenant_id_published_at", "loads", ["tenant_id", "published_at"])
