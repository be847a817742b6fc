"""A number that grows with every change of a run: what has been told of it, and what not."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it."""
    op.add_column("runs", sa.Column("revision", sa.BigInteger, nullable=False, server_default="0"))
