"""Tables: by name, by path or both; described, extended, never bent; readable by other engines."""

from __future__ import annotations

from dataclasses import dataclass, field

import duckdb
import pytest
from deltalake import DeltaTable, QueryBuilder
from pyspark.errors import AnalysisException, PySparkException

from spark_jobs.errors import TableMismatch
from spark_jobs.schemas import INGEST_LOG, QUARANTINE, SNAPSHOT, Column, TableSchema
from spark_jobs.tables import Table, ensure_table, noting, retrying
from tests.spark.landing_builder import reject, rows


def test_other_engines_read_every_table_and_comments_survive_the_writes(house):
    house.landing.commit(1, [rows(3)], rejects=[reject(1, b"\xff")])
    house.ingest()
    house.landing.commit(2, [rows(2)], rejects=[reject(1, b"\xff")])
    house.ingest()
    counts = {"file_metadata": 2, "dxr_quarantine": 2, "dxr_ingest_log": 2}
    schemas = {"file_metadata": SNAPSHOT, "dxr_quarantine": QUARANTINE, "dxr_ingest_log": INGEST_LOG}
    for name, schema in schemas.items():
        table = DeltaTable(house.path(name))
        found = QueryBuilder().register("t", table).execute("SELECT * FROM t").read_all()
        arrow = duckdb.arrow(found)  # noqa: F841 (read by name below)
        assert duckdb.sql("SELECT count(*) FROM arrow").fetchall() == [(counts[name],)]
        assert {field.name: field.metadata["comment"] for field in table.schema().fields} == {
            column.name: column.comment for column in schema.columns
        }
        assert table.metadata().description == schema.comment
        assert table.metadata().partition_columns == [schema.partitioned_by]
        assert table.metadata().configuration == {
            "delta.enableDeletionVectors": "false",
            "delta.dataSkippingStatsColumns": ",".join(schema.statistics),
        }


def test_missing_columns_are_added_and_a_column_of_another_type_is_an_error(house):
    path, other = house.path("file_metadata"), house.path("contracts")
    house.spark.sql(
        f"CREATE TABLE delta.`{path}` (FILE_ID STRING, ingestion_date DATE, mine INT) USING delta "
        "PARTITIONED BY (ingestion_date)"
    )
    house.spark.sql(f"CREATE TABLE delta.`{other}` (size STRING, ingestion_date DATE) USING delta")
    house.landing.commit(1, [rows(2)])
    house.landing.commit(2, [rows(2)], dataset="contracts")
    with pytest.raises(TableMismatch, match=r"contracts: column size is STRING, the job writes BIGINT\. Rename"):
        house.ingest()
    # Other tables are served, and the commit waits for the repair.
    assert house.landing.states(1, 2) == ["ingested", None]
    fields = {field.name: field.metadata for field in house.table().schema.fields}
    assert list(fields)[:3] == ["FILE_ID", "ingestion_date", "mine"]
    assert fields["raw_json"]["comment"].startswith("The whole row")
    assert house.ids() == ["f-0", "f-1"]


@pytest.mark.parametrize("path", [None, "tables/named"])
def test_a_table_by_name_alone_and_by_name_and_path(house, tmp_path, path):
    name = "by_both.files" if path else "by_name.files"
    named = Table.of(name, str(tmp_path / path) if path else None)
    if path:
        house.spark.sql("CREATE SCHEMA by_both")
    renamed = house.with_settings(
        snapshots=named, quarantine=named.beside("dxr_quarantine"), ingest_log=named.beside("dxr_ingest_log")
    )
    house.landing.commit(1, [rows(2)], rejects=[reject(1, b"x")])
    renamed.ingest()
    # The next session knows nothing of this one's catalog, only the files.
    for table in (named, renamed.settings.quarantine, renamed.settings.ingest_log):
        house.spark.sql(f"DROP TABLE {table.sql}") if path else None
    house.landing.commit(2, [rows(3)], rejects=[reject(1, b"x")])
    renamed.ingest()
    assert house.landing.states(1, 2) == ["ingested", "ingested"]
    assert (house.landing.receipt(2)["table"], house.landing.receipt(2)["table_version"]) == (name, 2)
    assert house.spark.table(name).count() == 3
    assert house.spark.table(named.beside("dxr_quarantine").label).count() == 2
    assert house.spark.table(name).schema["size"].metadata == {"comment": SNAPSHOT.columns[3].comment}
    if path:
        assert (tmp_path / "tables" / "dxr_ingest_log" / "_delta_log").is_dir()


@dataclass
class Serverless:
    """What the job sees of serverless compute before its first table: a catalog, and no settings."""

    statements: list[str] = field(default_factory=list)

    def table(self, name):
        raise AnalysisException("[TABLE_OR_VIEW_NOT_FOUND] The table or view cannot be found.")

    def sql(self, statement):
        self.statements.append(statement)

    @property
    def conf(self):
        return self

    def get(self, *_):
        raise PySparkException("[CONFIG_NOT_AVAILABLE] Configuration is not available.")

    set = unset = get


@pytest.mark.parametrize(("name", "sql"), [("main.dxr.files", "`main`.`dxr`.`files`"), ("dxr.files", "`dxr`.`files`")])
def test_a_table_of_a_catalog_that_lasts_is_managed_by_it(name, sql):
    columns = (Column("a", "bigint", "It's a"), Column("b", "date", "It is b"))
    spark = Serverless()
    ensure_table(spark, Table.of(name, None), TableSchema(columns, ("a",), "Both", partitioned_by="b"))
    assert spark.statements == [
        f"CREATE TABLE IF NOT EXISTS {sql} (`a` bigint COMMENT 'It\\'s a', `b` date COMMENT 'It is b') USING delta "
        "PARTITIONED BY (b) COMMENT 'Both' TBLPROPERTIES "
        "('delta.enableDeletionVectors' = 'false', 'delta.dataSkippingStatsColumns' = 'a')"
    ]


def test_a_session_without_settings_writes_all_the_same():
    spark = Serverless()
    with noting(spark, ["a", "b"]):
        spark.sql("MERGE")
    assert spark.statements == ["MERGE"]


def test_a_lost_race_is_tried_again_a_limited_number_of_times():
    waits, tries = [], []

    def lose():
        tries.append(1)
        raise RuntimeError("[DELTA_CONCURRENT_APPEND] somebody was faster")

    with pytest.raises(RuntimeError, match="DELTA_CONCURRENT_APPEND"):
        retrying(lose, waits.append, lambda: 0.5)
    assert (len(tries), waits) == (8, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0])


def test_another_error_is_not_tried_again():
    tries = []

    def fail():
        tries.append(1)
        raise RuntimeError("[SOMETHING_ELSE]")

    with pytest.raises(RuntimeError, match="SOMETHING_ELSE"):
        retrying(fail, pytest.fail, lambda: 0.5)
    assert len(tries) == 1
