"""Classification: what is asked, the batches, and what is remembered of files."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them."""
    op.add_column("runs", sa.Column("prefix", sa.Text, nullable=False, server_default=""))
    op.add_column("runs", sa.Column("full_scan", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "classification_batches",
        sa.Column("run_id", sa.String(36), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("datasource_id", sa.String(64), nullable=False),
        sa.Column("files", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("job_id", sa.Text),
        sa.Column("scan_id", sa.BigInteger),
        sa.Column("chunk", sa.Text),
    )
    op.create_table(
        "classified_files",
        sa.Column("volume", sa.Text, primary_key=True),
        sa.Column("path", sa.Text, primary_key=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("modified_ms", sa.BigInteger, nullable=False),
        sa.Column("seen_run", sa.String(36), nullable=False),
        sa.Column("labelled_run", sa.String(36)),
        sa.Column("deleted_run", sa.String(36)),
    )


def downgrade() -> None:
    """Remove them."""
    op.drop_table("classified_files")
    op.drop_table("classification_batches")
    with op.batch_alter_table("runs") as runs:
        runs.drop_column("full_scan")
        runs.drop_column("prefix")
