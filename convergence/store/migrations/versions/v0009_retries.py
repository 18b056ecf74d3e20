"""Which run a run does again."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("pipeline_runs", sa.Column("retry_of", sa.String()))
