"""The runs."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ACTIVE = "state IN ('queued', 'running')"


def upgrade() -> None:
    """Make the table of runs."""
    op.create_table(
        "runs",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("dataset", sa.String(63), nullable=False),
        sa.Column("ingestion_date", sa.String(10), nullable=False),
        sa.Column("query", sa.Text),
        sa.Column("record_cap", sa.BigInteger),
        sa.Column("accept_shrunken", sa.Boolean, nullable=False),
        sa.Column("trigger", sa.String(128), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.Column("started_at", sa.String(27)),
        sa.Column("ended_at", sa.String(27)),
        sa.Column("progress", sa.JSON, nullable=False),
        sa.Column("counts", sa.JSON, nullable=False),
        sa.Column("error", sa.JSON(none_as_null=True)),
        sa.Column("commit_path", sa.Text),
        sa.Column("receipt", sa.JSON(none_as_null=True)),
    )
    op.create_index("runs_by_dataset", "runs", ["dataset", "sequence"])
    op.create_index("runs_by_state", "runs", ["state"])
    op.create_index(
        "one_active_run_per_dataset",
        "runs",
        ["dataset"],
        unique=True,
        sqlite_where=sa.text(ACTIVE),
        postgresql_where=sa.text(ACTIVE),
    )


def downgrade() -> None:
    """Remove it."""
    op.drop_table("runs")
