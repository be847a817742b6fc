"""The flow of one micro-batch: read the commits, settle each day newest first, put receipts, write the log.

Nothing here remembers anything: the landing's receipts say what is settled, each table's history says what it holds.
A commit that was left out (a kind for a later version of the job, a crash, an empty file, which no stream yields) has
no receipt and is therefore pending, and every batch takes up all that is pending.
"""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from threading import Event
from typing import TYPE_CHECKING, Final

from spark_jobs.chunks import check_chunks
from spark_jobs.commits import SnapshotCommit, by_day, parse_document, parse_name, parse_snapshot
from spark_jobs.errors import CommitRefused, TableMismatch
from spark_jobs.ingest_log import Handled, append_log
from spark_jobs.landing import Landing
from spark_jobs.quarantine import quarantine_lines
from spark_jobs.receipts import Receipt, publish_receipt, read_receipt
from spark_jobs.settings import RESERVED_DATASETS, Settings
from spark_jobs.snapshots import write_snapshot
from spark_jobs.tables import Table, history, retrying

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pyspark.sql import DataFrame, SparkSession

    from spark_jobs.commits import CommitName
    from spark_jobs.tables import Written

LEFT_PENDING: Final = "classification"


@dataclass(frozen=True, slots=True)
class IngestBatch:
    """What `foreachBatch` calls: picklable and without a session of its own, for Spark Connect."""

    settings: Settings

    def __call__(self, frame: DataFrame, _batch_id: int) -> None:
        """Handle the commits that the stream delivered and all others that are pending."""
        delivered = {str(row["file_name"]) for row in frame.collect()}
        ingest_commits(frame.sparkSession, self.settings, delivered)


@dataclass(frozen=True, slots=True)
class Inbox:
    """The commits of one batch, sorted by what is to be done with them."""

    snapshots: list[SnapshotCommit]
    unusable: list[Handled]
    settled: list[Handled]


def ingest_commits(spark: SparkSession, settings: Settings, delivered: Iterable[str] = ()) -> None:
    """Handle every commit that is pending; those that were delivered again only make sure that the log names them.

    Raises:
        TableMismatch: a table cannot be written; commits of other tables were handled first.
    """
    landing = Landing(settings.landing_path)
    inbox = read_inbox(landing, settings, delivered)
    handled, mismatches = list[Handled](), list[TableMismatch]()
    before: dict[str, dict[str | None, Written]] = {}
    for day in by_day(inbox.snapshots):
        table = settings.table_of(day[0].dataset)
        if table.label not in before:
            # A run that is in the history was written before a crash kept it from its receipt.
            before[table.label] = {written.run_id: written for written in history(spark, table)}
        try:
            for done in settle_day(spark, settings, landing, day, before[table.label]):
                handled.append(done)
                say(done.line())
        except TableMismatch as mismatch:
            mismatches.append(mismatch)
    # Unusable files come last: should two files claim one run, the verdict on the usable one stands.
    for refused in inbox.unusable:
        handled.append(replace(refused, receipt=publish_receipt(landing, refused.receipt)))
        say(handled[-1].line())
    retrying(lambda: append_log(spark, settings.ingest_log, [*inbox.settled, *handled]), Event().wait, random.random)
    if mismatches:
        raise mismatches[0]


def read_inbox(landing: Landing, settings: Settings, delivered: Iterable[str]) -> Inbox:
    """Read and sort the delivered and the pending commits."""
    inbox = Inbox([], [], [])
    names = landing.pending()
    for file in sorted(delivered):
        if (name := parse_name(file)) is None:
            say(f"ignored commits/{file}: its name is not <dataset>.<sequence, 20 digits>.<run id>.json")
        else:
            names.add(name)
    left = [name for name in sorted(names) if not _take_up(inbox, landing, settings, name)]
    if left:
        # The later version of this job that knows them needs no new delivery: they stay pending until then.
        say(f"left {len(left)} {LEFT_PENDING} commits pending without a receipt: this version ingests snapshots only")
    return inbox


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
            receipt = _refusal(commit.run_id, table, refused)
        handled = _handled(
            commit.name, publish_receipt(landing, receipt), started_at, commit, repeated=commit.run_id in before
        )
        if standing is None and handled.receipt.state != "refused":
            standing = commit
        yield handled


def say(line: str) -> None:
    """One readable line about what was done, never with the content of a row."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _take_up(inbox: Inbox, landing: Landing, settings: Settings, name: CommitName) -> bool:
    """Sort one commit into the inbox; False leaves it pending."""
    started_at = datetime.now(UTC)
    content = landing.read_commit(name)
    if content is None:
        say(f"ignored commits/{name.file}: it is not there any more")
        return True
    receipt, commit = read_receipt(landing, name.run_id), None
    try:
        document = parse_document(name, content)
        if document["kind"] == LEFT_PENDING and name.dataset == settings.classification_dataset:
            return receipt is not None
        _check_table(settings, name, document["kind"])
        commit = parse_snapshot(name, document)
    except CommitRefused as refused:
        refusal = receipt or _refusal(name.run_id, None, refused)
        (inbox.settled if receipt else inbox.unusable).append(
            _handled(name, refusal, started_at, commit, repeated=receipt is not None)
        )
        return True
    if receipt is None:
        inbox.snapshots.append(commit)
    else:
        inbox.settled.append(_handled(name, receipt, started_at, commit, repeated=True))
    return True


def _check_table(settings: Settings, name: CommitName, kind: object) -> None:
    """Refuse what must not become a snapshot table of this name."""
    table = settings.table_of(name.dataset)
    taken = {
        settings.table_of(settings.snapshot_dataset).label if name.dataset != settings.snapshot_dataset else "",
        settings.quarantine.label,
        settings.ingest_log.label,
    }
    if kind != "snapshot" or name.dataset == settings.classification_dataset:
        expected = "classification" if name.dataset == settings.classification_dataset else "snapshot"
        raise CommitRefused(
            "KIND_MISMATCH", f"the kind of dataset {name.dataset} is {expected}, not that of the commit"
        )
    if name.dataset in RESERVED_DATASETS or table.label in taken:
        raise CommitRefused(
            "DATASET_RESERVED", f"{table.label} is the table of something else: use another dataset name"
        )


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
        check_chunks(spark, landing, commit.chunks + commit.rejects)
        written = retrying(lambda: write_snapshot(spark, landing, table, commit), Event().wait, random.random)
    if written is None:
        return _superseded(commit, table)
    # After the table, because only a run that is in it may leave lines in the quarantine; before the receipt, because
    # a crash in between is healed by doing this part again.
    rows = written.rows
    quarantined = retrying(
        lambda: quarantine_lines(spark, landing, settings.quarantine, commit, rows), Event().wait, random.random
    )
    return Receipt(
        run_id=commit.run_id,
        state="ingested",
        table=table.label,
        ingested_at=_now(),
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
    return Receipt(commit.run_id, "superseded", table.label, _now(), reason=reason)


def _refusal(run_id: str, table: Table | None, refused: CommitRefused) -> Receipt:
    return Receipt(run_id, "refused", table.label if table else None, _now(), reason=refused.reason)


def _handled(
    name: CommitName, receipt: Receipt, started_at: datetime, commit: SnapshotCommit | None, *, repeated: bool
) -> Handled:
    if commit is None:
        return Handled(name, receipt, started_at, datetime.now(UTC), repeated)
    return Handled(
        name,
        receipt,
        started_at,
        datetime.now(UTC),
        repeated,
        kind="snapshot",
        ingestion_date=commit.ingestion_date,
        rows=commit.rows,
        rejected_rows=commit.rejected_rows,
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
