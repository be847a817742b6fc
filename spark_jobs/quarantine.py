"""Lines that no table could hold, byte for byte: what the service rejected, and what Spark could not read as a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from spark_jobs.chunks import chunk_lines
from spark_jobs.errors import Unbalanced
from spark_jobs.lines import JSON_OPTIONS
from spark_jobs.schemas import QUARANTINE
from spark_jobs.tables import ensure_table, replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import DataFrame, SparkSession

    from spark_jobs.commits import Commit
    from spark_jobs.landing import Landing
    from spark_jobs.tables import Table

NO_REJECT: Final = "unreadable record of a rejected line"


def quarantine_lines(
    spark: SparkSession, landing: Landing, table: Table, commit: Commit, problem: Callable[[], str], table_rows: int
) -> int:
    """Put the lines of an ingested commit that its table does not hold into the quarantine; says how many.

    `problem` makes SQL for the reason why a line `value` is no row of that table, null for a row. Repeating this
    replaces what it wrote before.

    Raises:
        Unbalanced: rows and quarantined lines are not what the commit announced.
    """
    expected = commit.rows - table_rows + commit.rejected_rows
    if expected == 0:
        return 0
    found = rejected_lines(spark, landing, commit)
    if commit.rows > table_rows:
        found = found.unionByName(unread_lines(spark, landing, commit, problem()))
    ensure_table(spark, table, QUARANTINE)
    where = f"dataset = '{commit.dataset}' AND run_id = '{commit.run_id}'"
    replace(_with_run(found, commit), table, where, commit.run_id)
    quarantined = spark.table(table.sql).where(where).count()
    if quarantined != expected:
        raise Unbalanced(
            f"run {commit.run_id}: {table_rows} rows are in its table and {quarantined} lines in {table.label}, "
            f"but the commit has {commit.rows} rows and {commit.rejected_rows} rejected lines; "
            "it has no receipt: see whether something else writes these tables, then run the job again"
        )
    return quarantined


def rejected_lines(spark: SparkSession, landing: Landing, commit: Commit) -> DataFrame:
    """The lines that the service rejected, decoded from the records that it landed."""
    from pyspark.sql import functions as F  # noqa: N812

    # Spark passes over an error inside a field; then it is the record itself that is kept.
    schema = "line_number BIGINT, reason STRING, raw STRING, damaged STRING"
    options = {**JSON_OPTIONS, "columnNameOfCorruptRecord": "damaged"}
    record = F.from_json(F.col("value"), schema, options).alias("record")
    lines = chunk_lines(spark, landing, commit.rejects).select("value", "chunk", record)
    raw = F.try_to_binary(F.col("record.raw"), F.lit("base64"))
    is_whole = F.col("record.damaged").isNull() & F.col("record.line_number").isNotNull()
    readable = is_whole & (F.col("record.raw").isNull() | raw.isNotNull())
    return lines.select(
        "chunk",
        F.col("record.line_number").alias("line_number"),
        F.when(readable, F.col("record.reason")).otherwise(F.lit(NO_REJECT)).alias("reason"),
        F.when(readable, raw).otherwise(F.col("value").cast("binary")).alias("raw"),
    )


def unread_lines(spark: SparkSession, landing: Landing, commit: Commit, problem: str) -> DataFrame:
    """The lines of chunks that are no rows, with their numbers; only chunks that hold such lines are numbered."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F  # noqa: N812

    lines = chunk_lines(spark, landing, commit.chunks)
    bad = {row["chunk"] for row in lines.where(f"({problem}) IS NOT NULL").select("chunk").distinct().collect()}
    lines = chunk_lines(spark, landing, tuple(chunk for chunk in commit.chunks if chunk.path in bad))
    # A gzip file is one task, whose ids grow from line to line: their rank within the file is the line's number.
    placed = lines.select(
        "chunk", "value", F.monotonically_increasing_id().alias("place"), F.expr(problem).alias("reason")
    )
    kept = placed.selectExpr(
        "chunk", "place", "reason", "CASE WHEN reason IS NOT NULL THEN CAST(value AS BINARY) END AS raw"
    )
    in_file = Window.partitionBy("chunk").orderBy("place")
    numbered = kept.withColumn("line_number", F.row_number().over(in_file).cast("bigint"))
    return numbered.where("reason IS NOT NULL").select("chunk", "line_number", "reason", "raw")


def _with_run(lines: DataFrame, commit: Commit) -> DataFrame:
    from pyspark.sql import functions as F  # noqa: N812

    run = lines.withColumns(
        {
            "dataset": F.lit(commit.dataset),
            "run_id": F.lit(commit.run_id),
            "ingestion_date": F.lit(commit.ingestion_date).cast("date"),
            "quarantined_at": F.current_timestamp(),
        }
    )
    return run.select(*(column.name for column in QUARANTINE.columns))
