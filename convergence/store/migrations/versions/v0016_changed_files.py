"""When a file of a source was last written or replaced, whatever its modification time says."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Of files that were seen before it is not known: each is hashed once more."""
    changed = sa.Column("ctime_ns", sa.BigInteger(), nullable=False, server_default="0")
    op.add_column("source_units", changed)
