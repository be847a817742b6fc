"""The flow of one micro-batch: read the commits, settle each day and the classifications, put receipts, write the log.

Nothing here remembers anything: the landing's receipts say what is settled, the tables say what they hold. A commit
that was left out (a crash, an empty file, which no stream yields) has no receipt and is therefore pending, and every
batch takes up all that is pending.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from threading import Event
from typing import TYPE_CHECKING

from spark_jobs.days import settle_days
from spark_jobs.errors import TableMismatch
from spark_jobs.inbox import read_inbox
from spark_jobs.ingest_log import Handled, append_log, say
from spark_jobs.landing import Landing
from spark_jobs.merges import settle_classifications
from spark_jobs.receipts import publish_receipt
from spark_jobs.tables import retrying

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyspark.sql import DataFrame, SparkSession

    from spark_jobs.settings import Settings


@dataclass(frozen=True, slots=True)
class IngestBatch:
    """What `foreachBatch` calls: picklable and without a session of its own, for Spark Connect."""

    settings: Settings

    def __call__(self, frame: DataFrame, _batch_id: int) -> None:
        """Handle the commits that the stream delivered and all others that are pending."""
        delivered = {str(row["file_name"]) for row in frame.collect()}
        ingest_commits(frame.sparkSession, self.settings, delivered)


def ingest_commits(spark: SparkSession, settings: Settings, delivered: Iterable[str] = ()) -> None:
    """Handle every commit that is pending; those that were delivered again only make sure that the log names them.

    Raises:
        TableMismatch: a table cannot be written; commits of other tables were handled first.
    """
    landing = Landing(settings.landing_path)
    inbox = read_inbox(landing, settings, delivered)
    handled, mismatches = list[Handled](), list[TableMismatch]()
    days = settle_days(spark, settings, landing, inbox.snapshots)
    for settlement in (*days, settle_classifications(spark, settings, landing, inbox.classifications)):
        try:
            for done in settlement:
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
