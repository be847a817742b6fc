"""What Spark compiles for a commit: nothing that differs from commit to commit, nothing too long for the JVM."""

from __future__ import annotations

import contextlib
import io
import re
from datetime import date

from spark_jobs.chunks import chunk_lines
from spark_jobs.commits import Chunk, CommitName, SnapshotCommit
from spark_jobs.landing import Landing
from spark_jobs.snapshots import rows_of
from tests.spark.landing_builder import rows, run_id

# HotSpot runs a method of more bytes than this without ever compiling it.
BYTECODE_BYTES_MAX = 8000


def frame(house, number: int):
    """The rows of a run's commit."""
    document = house.landing.document(number, [rows(20)])
    chunks = tuple(Chunk(**entry) for entry in document["chunks"])
    name = CommitName("file_metadata", number, run_id(number))
    commit = SnapshotCommit(name, date(2026, 1, number), 20, 0, chunks, (), capped=False)
    return rows_of(chunk_lines(house.spark, Landing(house.settings.landing_path), chunks), commit, proven_utf8=True)


def compiled(house) -> int:
    metrics = house.spark._jvm.org.apache.spark.metrics.source.CodegenMetrics
    return metrics.METRIC_COMPILATION_TIME().getCount()


def test_the_next_commit_finds_its_code_compiled(house):
    first, second = frame(house, 1), frame(house, 2)
    first.write.format("noop").mode("overwrite").save()
    before = compiled(house)
    second.write.format("noop").mode("overwrite").save()
    assert compiled(house) == before > 0
    held = {(str(row.ingestion_date), row._run_id, row._sequence) for row in second.collect()}
    assert held == {("2026-01-02", run_id(2), 2)}


def test_no_method_of_a_row_is_too_long_to_be_compiled(house):
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        frame(house, 1).explain("codegen")
    sizes = [int(size) for size in re.findall(r"maxMethodCodeSize:(\d+)", told.getvalue())]
    assert sizes
    assert max(sizes) <= BYTECODE_BYTES_MAX
