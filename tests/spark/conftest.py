"""One Spark session for the whole run; a landing folder and a set of tables for each test."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from spark_jobs.batch import ingest_commits
from spark_jobs.settings import Settings, load_settings
from tests.spark.landing_builder import DAY, LandingBuilder


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    """The job's own local session, with a JVM that compiles less: a test suite is mostly warm-up."""
    from spark_jobs.session import open_session

    os.environ["PYSPARK_SUBMIT_ARGS"] = (
        '--driver-java-options "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC" '
        f"--conf spark.sql.warehouse.dir={tmp_path_factory.mktemp('warehouse')} pyspark-shell"
    )
    session = open_session(given=False)
    session.conf.set("spark.sql.shuffle.partitions", "1")
    yield session
    session.stop()


@dataclass
class House:
    """A landing and the tables beside it."""

    spark: object
    landing: LandingBuilder
    settings: Settings

    def ingest(self, delivered=()):
        ingest_commits(self.spark, self.settings, delivered)

    def path(self, table: str) -> str:
        return str(Path(self.settings.snapshots.path).parent / table)

    def table(self, table: str = "file_metadata"):
        return self.spark.read.format("delta").load(self.path(table))

    def ids(self, day: str = DAY, table: str = "file_metadata") -> list[str]:
        found = self.table(table).where(f"ingestion_date = DATE'{day}'").select("file_id").collect()
        return sorted(row.file_id for row in found)

    def versions(self, table: str = "file_metadata") -> int:
        return len(list((Path(self.path(table)) / "_delta_log").glob("*.json")))

    def with_settings(self, **changes) -> House:
        return replace(self, settings=replace(self.settings, **changes))


@pytest.fixture
def house(spark, tmp_path) -> House:
    environ = {
        "LANDING_PATH": str(tmp_path / "landing"),
        "CHECKPOINT_PATH": str(tmp_path / "checkpoint"),
        "DXR_DELTA_PATH": str(tmp_path / "tables" / "file_metadata"),
    }
    landing = LandingBuilder(tmp_path / "landing")
    for folder in ("commits", "receipts"):
        (landing.root / folder).mkdir(parents=True)
    return House(spark, landing, load_settings({}, environ))
