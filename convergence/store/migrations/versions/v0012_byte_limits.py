"""How many bytes one statement of a tenant may be billed for."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("tenant_subscriptions", sa.Column("maximum_bytes_billed", sa.BigInteger()))
