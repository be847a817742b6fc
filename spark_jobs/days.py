"""The snapshot commits of a batch, settled day by day, newest first: the first that is good replaces the day."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from threading import Event
from typing import TYPE_CHECKING

from spark_jobs.chunks import checked
from spark_jobs.commits import by_day
from spark_jobs.documents import parse_document, parse_snapshot
from spark_jobs.errors import CommitRefused
from spark_jobs.ingest_log import Handled
from spark_jobs.quarantine import quarantine_lines
from spark_jobs.receipts import Receipt, now, publish_receipt, read_receipt, refusal
from spark_jobs.snapshots import problem_expression, write_snapshot
from spark_jobs.tables import history, retrying

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pyspark.sql import SparkSession

    from spark_jobs.commits import CommitName, SnapshotCommit
    from spark_jobs.landing import Landing
    from spark_jobs.settings import Settings
    from spark_jobs.tables import Table, Written


def settle_days(
    spark: SparkSession, settings: Settings, landing: Landing, commits: Iterable[SnapshotCommit]
) -> list[Iterable[Handled]]:
    """A settlement for each day of each dataset, done while iterated, so that a table that fails stops only its own."""
    before: dict[str, dict[str | None, Written]] = {}
    settlements: list[Iterable[Handled]] = []
    for day in by_day(commits):
        table = settings.table_of(day[0].dataset)
        if table.label not in before:
            # A run that is in the history was written before a crash kept it from its receipt.
            before[table.label] = {written.run_id: written for written in history(spark, table)}
        settlements.append(settle_day(spark, settings, landing, day, before[table.label]))
    return settlements


def settle_day(
    spark: SparkSession,
    settings: Settings,
    landing: Landing,
    day: list[SnapshotCommit],
    before: Mapping[str | None, Written],
) -> Iterable[Handled]:
    """Settle the commits of one day in the order given; once one stands, older ones are superseded.

    `before` has what the table held of earlier attempts, by run.
    """
    table = settings.table_of(day[0].dataset)
    standing: SnapshotCommit | None = None
    for commit in day:
        started_at = datetime.now(UTC)
        try:
            receipt = _verdict(spark, settings, landing, commit, before.get(commit.run_id), standing)
        except CommitRefused as refused:
            receipt = refusal(commit.run_id, table, refused)
        standing_receipt = publish_receipt(landing, receipt)
        handled = Handled.of(commit, standing_receipt, started_at, repeated=commit.run_id in before)
        if standing is None and handled.receipt.state != "refused":
            standing = commit
        yield handled


def _verdict(
    spark: SparkSession,
    settings: Settings,
    landing: Landing,
    commit: SnapshotCommit,
    written: Written | None,
    standing: SnapshotCommit | None,
) -> Receipt:
    table = settings.table_of(commit.dataset)
    if written is None:
        _check_cap(landing, commit)
        if standing is not None:
            return _superseded(commit, table)
        found = checked(spark, landing, [commit])
        if refused := found.refused.get(commit.run_id):
            raise refused
        utf8 = commit.run_id in found.utf8
        written = retrying(
            lambda: write_snapshot(spark, landing, table, commit, proven_utf8=utf8), Event().wait, random.random
        )
    if written is None:
        return _superseded(commit, table)
    # After the table, because only a run that is in it may leave lines in the quarantine; before the receipt, because
    # a crash in between is healed by doing this part again.
    rows = written.rows
    quarantined = retrying(
        lambda: quarantine_lines(spark, landing, settings.quarantine, commit, problem_expression, rows),
        Event().wait,
        random.random,
    )
    return Receipt(
        run_id=commit.run_id,
        state="ingested",
        table=table.label,
        ingested_at=now(),
        table_version=written.version,
        table_rows=written.rows,
        quarantined_rows=quarantined,
    )


def _check_cap(landing: Landing, commit: SnapshotCommit) -> None:
    """Refuse a capped commit while its day has an uncapped one that may stand, be it settled or still pending."""
    if not commit.capped:
        return
    for name in landing.commit_names():
        if name.dataset == commit.dataset and _is_full(landing, name, commit):
            receipt = read_receipt(landing, name.run_id)
            if receipt is None or receipt.state != "refused":
                raise CommitRefused(
                    "CAPPED_OVER_FULL", f"run {name.run_id} holds the whole day, this run a capped part"
                )


def _is_full(landing: Landing, name: CommitName, commit: SnapshotCommit) -> bool:
    try:
        document = parse_document(name, landing.read_commit(name) or b"")
        other = parse_snapshot(name, document)
    except CommitRefused:
        return False
    return document["kind"] == "snapshot" and not other.capped and other.ingestion_date == commit.ingestion_date


def _superseded(commit: SnapshotCommit, table: Table) -> Receipt:
    reason = "NEWER_STANDS: a newer run of this day is in the table"
    return Receipt(commit.run_id, "superseded", table.label, now(), reason=reason)
