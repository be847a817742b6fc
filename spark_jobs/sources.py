"""Where the stream of commits comes from: Auto Loader on Databricks, Spark's plain file source elsewhere.

Only commits are streamed. A chunk is read when a commit names it: the sources promise each *file* once, in no order,
and end a micro-batch anywhere, so that half a day could replace a whole one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from spark_jobs.settings import Settings

COMMITS_PER_BATCH_MAX = 1000


def auto_loader_options() -> dict[str, str]:
    """Options of the `cloudFiles` source; `cloudFiles.maxFileAge` stays unset, because a late commit is still true."""
    return {
        "cloudFiles.format": "text",
        "cloudFiles.includeExistingFiles": "true",
        "cloudFiles.allowOverwrites": "false",
        "cloudFiles.maxFilesPerTrigger": str(COMMITS_PER_BATCH_MAX),
        "cloudFiles.partitionColumns": "",
        "pathGlobFilter": "*.json",
        "recursiveFileLookup": "true",
        "wholetext": "true",
    }


def file_options() -> dict[str, str]:
    """Options of the plain file source; its `maxFileAge` of days would ignore late commits, so it is a century."""
    return {
        "maxFilesPerTrigger": str(COMMITS_PER_BATCH_MAX),
        "maxFileAge": "36500d",
        "pathGlobFilter": "*.json",
        "recursiveFileLookup": "true",
        "wholetext": "true",
    }


def commit_stream(spark: SparkSession, settings: Settings) -> DataFrame:
    """A stream with the file name of each commit that appears."""
    auto_loader = settings.source == "auto-loader"
    reader = spark.readStream.format("cloudFiles" if auto_loader else "text").schema("value STRING")
    options = auto_loader_options() if auto_loader else file_options()
    return reader.options(**options).load(f"{settings.landing_path}/commits").select("_metadata.file_name")
