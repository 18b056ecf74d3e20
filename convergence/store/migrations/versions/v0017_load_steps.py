"""Which step of its run made a load."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.add_column("loads", sa.Column("step_id", sa.String(), nullable=False, server_default=""))
