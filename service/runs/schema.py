"""The tables of the run store, as a new one has them; `migrations/` brings those of older versions here."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

# The newest of `migrations/versions`.
REVISION: Final = "0004"

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
    # Who carries it out: every write of that process names the fence, which each claim raises.
    sa.Column("fence", sa.Integer, nullable=False, server_default="0"),
    sa.Column("owner", sa.Text),
    sa.Column("lease_until_us", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("takeovers", sa.Integer, nullable=False, server_default="0"),
    sa.Column("failed_attempts", sa.Integer, nullable=False, server_default="0"),
    # The commit that was about to be published last: whether it exists, the landing knows.
    sa.Column("publishing", sa.Text),
    sa.Column("receipt", sa.JSON(none_as_null=True)),
    # Grows with every change, whoever makes it: events of a run are numbered by it on all replicas.
    sa.Column(
        "revision",
        sa.BigInteger,
        nullable=False,
        server_default="0",
        onupdate=sa.literal_column("revision + 1", sa.BigInteger),
    ),
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

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("run_id", sa.String(36), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("fence", sa.Integer, nullable=False),
    sa.Column("owner", sa.Text),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("started_at", sa.String(27), nullable=False),
    sa.Column("ended_at", sa.String(27)),
    # Null as long as it goes on, and for ever if its process ended with it.
    sa.Column("code", sa.Text),
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    # Hashes: of token name, route and key; and of the parsed body.
    sa.Column("scope", sa.String(64), primary_key=True),
    sa.Column("body", sa.String(64), nullable=False),
    sa.Column("run_id", sa.String(36), nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
)

slots = sa.Table(
    "datasource_slots",
    metadata,
    sa.Column("datasource_id", sa.String(64), primary_key=True),
    sa.Column("run_id", sa.String(36), nullable=False),
    sa.Column("fence", sa.Integer, nullable=False),
    sa.Column("lease_until_us", sa.BigInteger, nullable=False),
)

batches = sa.Table(
    "classification_batches",
    metadata,
    sa.Column("run_id", sa.String(36), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("datasource_id", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("job_id", sa.Text),
    sa.Column("scan_id", sa.BigInteger),
    # [[upload name, path, size, modification time], …]: what a job that outlives its process is made of.
    sa.Column("uploads", sa.JSON, nullable=False),
)

chunks = sa.Table(
    "classification_chunks",
    metadata,
    sa.Column("run_id", sa.String(36), primary_key=True),
    sa.Column("path", sa.Text, primary_key=True),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("raw_bytes", sa.BigInteger, nullable=False),
    sa.Column("stored_bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
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
    # In whose published chunks there is a record of it, and with which status.
    sa.Column("told_run", sa.String(36)),
    sa.Column("told", sa.String(32)),
    sa.Index("classified_files_told", "told_run"),
    sa.Index("classified_files_labelled", "labelled_run"),
)
