"""The Spark session: the one that is given (by Databricks, or a Spark Connect server), else a local one with Delta."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from spark_jobs.schemas import SNAPSHOT

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Put there by scripts/install_delta_jars.py: a session starts from them without asking a network.
DELTA_JARS: Final = Path(sys.prefix) / "share" / "dxr-ingest" / "delta-jars"

LOCAL_SETTINGS: Final[dict[str, bool | float | int | str | None]] = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
    # The driver is this machine, whatever its host name resolves to.
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    # One process: each shuffle partition and each partition of Delta's own state is overhead (4.5 x measured).
    "spark.sql.shuffle.partitions": "2",
    "spark.databricks.delta.snapshotPartitions": "1",
    # A gzip file is read by one task. Chunks are spread over the cores, but a thousand small ones share a few tasks.
    "spark.sql.files.openCostInBytes": str(256 * 1024),
    "spark.sql.files.maxPartitionBytes": str(64 * 1024 * 1024),
    # A thousand paths are looked at here: to list them, Spark would run a task for each (a third of a backlog's cost).
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "100000",
    # A commit writes one partition: without this, every row is sorted, and perhaps spilled, by a constant.
    "spark.sql.maxConcurrentOutputFileWriters": "2",
    # What one row of 64 MiB beside another large one needs (2g was too little); ordinary rows leave most of it unused.
    "spark.driver.memory": "3g",
    "spark.sql.parquet.compression.codec": "zstd",
    # Code that Spark generated for one commit is there for the next one; by default too little of it is kept.
    "spark.sql.codegen.cache.maxEntries": "1000",
    # Parquet would put each value in a dictionary, see that nothing repeats, and write them all again without it.
    **{
        f"spark.hadoop.parquet.enable.dictionary#{column.name}": "false"
        for column in SNAPSHOT.columns
        if column.distinct
    },
    # A sixth less CPU than with the JVM's own collector, whose short pauses nobody waits for here; and of the thousands
    # of methods that plan a query, fewer are compiled before they pay for it.
    "spark.driver.extraJavaOptions": "-XX:+UseParallelGC -XX:CompileThresholdScaling=4",
}


def open_session(*, given: bool) -> SparkSession:
    """The session of this process, started if there is none yet; one that is given keeps its own settings."""
    from pyspark.sql import SparkSession

    if given:
        return SparkSession.builder.getOrCreate()
    running = SparkSession.getActiveSession()
    return running or _local_builder().getOrCreate()


def _local_builder() -> SparkSession.Builder:
    from pyspark.sql import SparkSession

    # Workers import this package: they must be the Python that has it, not whichever is first on PATH.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName("dxr-ingest-tables").master("local[*]").config(map=LOCAL_SETTINGS)
    jars = sorted(DELTA_JARS.glob("*.jar"))
    if jars:
        return builder.config("spark.jars", ",".join(str(jar) for jar in jars))
    from delta import configure_spark_with_delta_pip

    return configure_spark_with_delta_pip(builder)
