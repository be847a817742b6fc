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
