"""The classification commits of a batch, settled together: each verified, all merged at once, each receipted."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from threading import Event
from typing import TYPE_CHECKING

from spark_jobs.chunks import checked
from spark_jobs.classifications import merge_classifications, problem_expression
from spark_jobs.documents import parse_classification, parse_document
from spark_jobs.errors import CommitRefused
from spark_jobs.ingest_log import Handled, say
from spark_jobs.quarantine import quarantine_lines
from spark_jobs.receipts import Receipt, now, publish_receipt, read_receipt, refusal
from spark_jobs.tables import retrying

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyspark.sql import SparkSession

    from spark_jobs.classifications import Merged
    from spark_jobs.commits import ClassificationCommit, CommitName
    from spark_jobs.landing import Landing
    from spark_jobs.settings import Settings


def settle_classifications(
    spark: SparkSession, settings: Settings, landing: Landing, commits: list[ClassificationCommit]
) -> Iterable[Handled]:
    """Settle the commits, done while iterated; those that are not good are refused and do not hold up the others."""
    started_at, table = datetime.now(UTC), settings.classifications
    # Should two files claim one run, the newer one is that run.
    runs = {commit.run_id: commit for commit in sorted(commits, key=lambda commit: commit.is_newer_than)}
    refused = checked(spark, landing, runs.values()).refused
    good = [commit for commit in runs.values() if commit.run_id not in refused]
    receipts = [refusal(run_id, table, reason) for run_id, reason in refused.items()]
    yield from (_handled(landing, runs[receipt.run_id], receipt, started_at) for receipt in receipts)
    if good:
        # Taken up again with them, so that what they say is gone stays gone when older news arrives late.
        offered = [*good, *_newer_full_scans(spark, landing, good)]
        merged = retrying(lambda: merge_classifications(spark, landing, table, offered), Event().wait, random.random)
        for commit in good:
            receipt = _receipt(spark, settings, landing, commit, merged)
            yield _handled(landing, commit, receipt, started_at)
    for commit in commits:
        if commit is not runs[commit.run_id]:
            twin = CommitRefused("COMMIT_INVALID", "its run has a newer commit")
            yield _handled(landing, commit, refusal(commit.run_id, table, twin), started_at)


def _newer_full_scans(
    spark: SparkSession, landing: Landing, commits: list[ClassificationCommit]
) -> list[ClassificationCommit]:
    """The full scans that are in the table already and newer than one of the commits."""
    oldest = min(commits, key=lambda commit: commit.is_newer_than)
    names = [name for name in landing.commit_names() if name > oldest.name and name.dataset == oldest.dataset]
    scans = [scan for name in sorted(names) if (scan := _ingested_full_scan(landing, name)) is not None]
    gone = checked(spark, landing, scans).refused
    for run_id, reason in gone.items():
        say(f"run {run_id} is a full scan newer than others of this batch, which cannot be read again: {reason.reason}")
    return [scan for scan in scans if scan.run_id not in gone]


def _ingested_full_scan(landing: Landing, name: CommitName) -> ClassificationCommit | None:
    receipt = read_receipt(landing, name.run_id)
    if receipt is None or receipt.state != "ingested":
        return None
    try:
        commit = parse_classification(name, parse_document(name, landing.read_commit(name) or b""))
    except CommitRefused:
        return None
    return commit if commit.full_scan else None


def _receipt(
    spark: SparkSession, settings: Settings, landing: Landing, commit: ClassificationCommit, merged: Merged
) -> Receipt:
    rows = merged.rows[commit.run_id]
    # After the table and before the receipt: a crash in between is healed by doing this part again.
    quarantined = retrying(
        lambda: quarantine_lines(spark, landing, settings.quarantine, commit, problem_expression, rows),
        Event().wait,
        random.random,
    )
    return Receipt(
        run_id=commit.run_id,
        state="ingested",
        table=settings.classifications.label,
        ingested_at=now(),
        table_version=merged.version,
        table_rows=rows,
        quarantined_rows=quarantined,
    )


def _handled(landing: Landing, commit: ClassificationCommit, receipt: Receipt, started_at: datetime) -> Handled:
    # A merge cannot tell whether an earlier attempt had merged the same rows, so the log is asked.
    return Handled.of(commit, publish_receipt(landing, receipt), started_at, repeated=True)
