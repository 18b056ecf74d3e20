"""A number for the data of each tenant."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "data_versions",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_data_versions"),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant_profiles.tenant_id"], name="fk_data_versions_tenant_id"
        ),
    )
