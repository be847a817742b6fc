"""The ingest log: one row per commit handled, written once per micro-batch. A report; nothing is decided by it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from spark_jobs.schemas import INGEST_LOG
from spark_jobs.tables import append, ensure_table

if TYPE_CHECKING:
    from datetime import date

    from pyspark.sql import SparkSession

    from spark_jobs.commits import Commit, CommitName
    from spark_jobs.receipts import Receipt
    from spark_jobs.tables import Table


@dataclass(frozen=True, slots=True)
class Handled:
    """A commit and the verdict that stands on it; counts and day are None where the commit was unreadable.

    `repeated` says that an earlier attempt had already got as far as a receipt or the table.
    """

    name: CommitName
    receipt: Receipt
    started_at: datetime
    ended_at: datetime
    repeated: bool = False
    kind: str | None = None
    ingestion_date: date | None = None
    rows: int | None = None
    rejected_rows: int | None = None

    @classmethod
    def of(cls, commit: Commit, receipt: Receipt, started_at: datetime, *, repeated: bool) -> Handled:
        """A commit that could be read, its verdict being passed now."""
        return cls(
            commit.name,
            receipt,
            started_at,
            datetime.now(UTC),
            repeated,
            commit.kind,
            commit.ingestion_date,
            commit.rows,
            commit.rejected_rows,
        )

    @property
    def seconds(self) -> float:
        """How long the verdict took."""
        return (self.ended_at - self.started_at).total_seconds()

    def line(self) -> str:
        """It for the person who watches the job."""
        day = self.ingestion_date.isoformat() if self.ingestion_date else "-"
        receipt = self.receipt
        version = "" if receipt.table_version is None else f" version {receipt.table_version}"
        reason = f" ({receipt.reason})" if receipt.reason else ""
        return (
            f"{receipt.state} {self.name.dataset} {day} run {self.name.run_id}: {receipt.table_rows} rows, "
            f"{receipt.quarantined_rows} quarantined, {self.seconds:.1f} s, "
            f"{receipt.table or 'no table'}{version}{reason}"
        )


def say(line: str) -> None:
    """One readable line about what was done, never with the content of a row."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def append_log(spark: SparkSession, table: Table, batch: list[Handled]) -> None:
    """Add the commits of a batch; of those handled before a crash only the ones that the log does not name yet."""
    if not batch:
        return
    ensure_table(spark, table, INGEST_LOG)
    repeated = [handled.name.run_id for handled in batch if handled.repeated]
    known = _named(spark, table, repeated) if repeated else set[str]()
    new = [handled for handled in batch if handled.name.run_id not in known]
    if new:
        schema = ", ".join(f"{column.name} {column.type}" for column in INGEST_LOG.columns)
        rows = spark.createDataFrame([_row(handled) for handled in new], schema)  # pyright: ignore[reportUnknownMemberType]
        append(rows, table, [handled.name.run_id for handled in new])


def _named(spark: SparkSession, table: Table, run_ids: list[str]) -> set[str]:
    log = spark.table(table.sql)
    return {str(row["run_id"]) for row in log.where(log["run_id"].isin(run_ids)).select("run_id").collect()}


def _row(handled: Handled) -> tuple[object, ...]:
    name, receipt = handled.name, handled.receipt
    return (
        name.dataset,
        name.run_id,
        handled.kind,
        name.sequence,
        handled.ingestion_date,
        f"commits/{name.file}",
        receipt.state,
        receipt.reason,
        handled.rows,
        handled.rejected_rows,
        receipt.table,
        receipt.table_version,
        receipt.table_rows,
        receipt.quarantined_rows,
        handled.started_at,
        handled.ended_at,
        handled.seconds,
    )
