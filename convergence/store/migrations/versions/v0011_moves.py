"""What has a tenant's tables."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    kept = sa.Column("warehouse", sa.String(), nullable=False, server_default="duckdb")
    op.add_column("tenant_profiles", kept)
