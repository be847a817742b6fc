"""The tables of the run store; `migrations/` makes them."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

metadata = sa.MetaData()

_ACTIVE: Final = "state IN ('queued', 'running')"

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("dataset", sa.String(63), nullable=False),
    sa.Column("ingestion_date", sa.String(10), nullable=False),
    sa.Column("query", sa.Text),
    sa.Column("record_cap", sa.BigInteger),
    sa.Column("accept_shrunken", sa.Boolean, nullable=False),
    sa.Column("trigger", sa.String(128), nullable=False),
    sa.Column("prefix", sa.Text, nullable=False, server_default=""),
    sa.Column("full_scan", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("cancel_requested", sa.Boolean, nullable=False),
    # Times are ISO 8601 text in UTC: they sort as time does, on every database.
    sa.Column("created_at", sa.String(27), nullable=False),
    sa.Column("started_at", sa.String(27)),
    sa.Column("ended_at", sa.String(27)),
    sa.Column("progress", sa.JSON, nullable=False),
    sa.Column("counts", sa.JSON, nullable=False),
    sa.Column("error", sa.JSON(none_as_null=True)),
    sa.Column("commit_path", sa.Text),
    sa.Column("receipt", sa.JSON(none_as_null=True)),
    sa.Index("runs_by_dataset", "dataset", "sequence"),
    sa.Index("runs_by_state", "state"),
    # One active run per dataset, by the database itself: no check in a program can be raced past.
    sa.Index(
        "one_active_run_per_dataset",
        "dataset",
        unique=True,
        sqlite_where=sa.text(_ACTIVE),
        postgresql_where=sa.text(_ACTIVE),
    ),
)

batches = sa.Table(
    "classification_batches",
    metadata,
    sa.Column("run_id", sa.String(36), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("datasource_id", sa.String(64), nullable=False),
    sa.Column("files", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("job_id", sa.Text),
    sa.Column("scan_id", sa.BigInteger),
    # Where its records went; until that chunk is published they are only in memory.
    sa.Column("chunk", sa.Text),
)

files = sa.Table(
    "classified_files",
    metadata,
    sa.Column("volume", sa.Text, primary_key=True),
    sa.Column("path", sa.Text, primary_key=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("modified_ms", sa.BigInteger, nullable=False),
    # What a run did to the file counts once that run has landed: no second book-keeping to get wrong.
    sa.Column("seen_run", sa.String(36), nullable=False),
    sa.Column("labelled_run", sa.String(36)),
    sa.Column("deleted_run", sa.String(36)),
)
