"""Cloud credentials of tenants."""

import sqlalchemy as sa
from alembic import op

from convergence.store.column_types import FreeText, UtcDateTime

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "tenant_cloud_credentials",
        sa.Column("credential_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("credential_type", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("description", FreeText(), nullable=False),
        sa.Column("encrypted_credentials", sa.LargeBinary()),
        sa.Column("is_active", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("credential_id", name="pk_tenant_cloud_credentials"),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenant_profiles.tenant_id"],
            name="fk_tenant_cloud_credentials_tenant_id",
        ),
        sa.UniqueConstraint(
            "tenant_id", "provider", name="uq_tenant_cloud_credentials_tenant_id_provider"
        ),
    )
