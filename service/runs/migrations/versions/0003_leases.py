"""Leases and fences, attempts, idempotency keys, datasource slots, and what a taken-over classification needs."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them. Batches of runs that have ended are of no use to anybody."""
    for column in (
        sa.Column("fence", sa.Integer, nullable=False, server_default="0"),
        sa.Column("owner", sa.Text),
        sa.Column("lease_until_us", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("takeovers", sa.Integer, nullable=False, server_default="0"),
        sa.Column("failed_attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("publishing", sa.Text),
    ):
        op.add_column("runs", column)
    op.create_table(
        "attempts",
        sa.Column("run_id", sa.String(36), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.String(27), nullable=False),
        sa.Column("ended_at", sa.String(27)),
        sa.Column("code", sa.Text),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("scope", sa.String(64), primary_key=True),
        sa.Column("body", sa.String(64), nullable=False),
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "datasource_slots",
        sa.Column("datasource_id", sa.String(64), primary_key=True),
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("lease_until_us", sa.BigInteger, nullable=False),
    )
    op.drop_table("classification_batches")
    op.create_table(
        "classification_batches",
        sa.Column("run_id", sa.String(36), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("datasource_id", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("job_id", sa.Text),
        sa.Column("scan_id", sa.BigInteger),
        sa.Column("uploads", sa.JSON, nullable=False),
    )
    op.create_table(
        "classification_chunks",
        sa.Column("run_id", sa.String(36), primary_key=True),
        sa.Column("path", sa.Text, primary_key=True),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("raw_bytes", sa.BigInteger, nullable=False),
        sa.Column("stored_bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
    )
    op.add_column("classified_files", sa.Column("told_run", sa.String(36)))
    op.add_column("classified_files", sa.Column("told", sa.String(32)))
    op.create_index("classified_files_told", "classified_files", ["told_run"])
    op.create_index("classified_files_labelled", "classified_files", ["labelled_run"])


def downgrade() -> None:
    """Remove them."""
    op.drop_index("classified_files_labelled", "classified_files")
    op.drop_index("classified_files_told", "classified_files")
    with op.batch_alter_table("classified_files") as files:
        files.drop_column("told")
        files.drop_column("told_run")
    for table in ("classification_chunks", "datasource_slots", "idempotency_keys", "attempts"):
        op.drop_table(table)
    op.drop_table("classification_batches")
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
    with op.batch_alter_table("runs") as runs:
        for name in ("publishing", "failed_attempts", "takeovers", "lease_until_us", "owner", "fence"):
            runs.drop_column(name)
