"""The whole command through a real Spark Connect server leaves what it leaves on classic Spark, table by table.

On the server its tables are managed ones of a three-part name; `foreachBatch` runs in the server's Python worker.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder, write_deltalake

from spark_jobs.ingest import main
from spark_jobs.schemas import CLASSIFICATION, INGEST_LOG, QUARANTINE, SNAPSHOT
from tests.spark.connect_server import ROOT, serving
from tests.spark.landing_builder import DAY, LandingBuilder, reject, rows, run_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.spark.connect_server import ConnectServer

NEXT_DAY = "2026-02-01"
SCHEMAS = {
    "file_metadata": SNAPSHOT,
    "dxr_metadata": CLASSIFICATION,
    "dxr_quarantine": QUARANTINE,
    "dxr_ingest_log": INGEST_LOG,
}
# When something was done, and what the table is called there.
OWN = {"_ingested_at", "quarantined_at", "started_at", "ended_at", "seconds", "table_name"}
# A view that cannot be made would be told, and the exit code 1.
MANAGED = ("--dxr-delta-table=spark_catalog.default.file_metadata", "--create-views")
DONE = "done: 3 ingested, 1 superseded, 2 refused; 9 rows, 6 quarantined, 0 commits pending\n"


@dataclass(frozen=True)
class Place:
    """A landing and the tables that the command made of it, read without Spark."""

    landing: LandingBuilder
    tables: Path

    def rows(self, table: str) -> list[dict]:
        found = QueryBuilder().register("t", DeltaTable(str(self.tables / table))).execute("SELECT * FROM t").read_all()
        return pa.table(found).to_pylist()

    def content(self, table: str) -> list[dict]:
        """The rows but for what is each one's own."""
        shared = [{name: value for name, value in row.items() if name not in OWN} for row in self.rows(table)]
        return sorted(shared, key=lambda row: json.dumps(row, default=str, sort_keys=True))

    def description(self, table: str) -> tuple[object, ...]:
        found = DeltaTable(str(self.tables / table))
        metadata, fields = found.metadata(), found.schema().fields
        return (
            metadata.description,
            metadata.partition_columns,
            metadata.configuration,
            [(field.name, str(field.type), field.metadata["comment"]) for field in fields],
        )

    def history(self, table: str) -> list[tuple[str, str | None]]:
        entries = reversed(DeltaTable(str(self.tables / table)).history())
        return [(entry["operation"], entry.get("userMetadata")) for entry in entries]

    def receipts(self) -> dict[str, dict]:
        files = (self.landing.root / "receipts").iterdir()
        return {file.stem: json.loads(file.read_bytes()) for file in files}

    def files(self) -> dict[Path, bytes]:
        """Everything that the command wrote."""
        return {
            file: file.read_bytes()
            for folder in (self.tables, self.landing.root / "receipts")
            for file in folder.rglob("*")
            if file.is_file()
        }


def news(path: str, collected_at: str, **fields: object) -> bytes:
    place = {"catalog_name": "c", "schema_name": "s", "volume_name": "v", "relative_path": path}
    line = {"file_path": f"/Volumes/c/s/v/{path}", **place, "status": "LABELLED", "collected_at": collected_at}
    return json.dumps({**line, **fields}).encode()


def fill(landing: LandingBuilder) -> None:
    """Bad lines, rejects, a superseded and two refused commits, and news of files of which one is gone."""
    typed = b'{"fileId":"t","size":"77","labels":[{"x":1}],"owner":"me","path":"/\xc3\xa4"}'
    landing.commit(1, [rows(2, "old")])
    landing.commit(
        2, [[typed, b"no row", *rows(3)], [b'{"fileId":"\xff"}', *rows(1, "g")]], rejects=[reject(7, b"\xff")]
    )
    missing = landing.commit(3, [rows(2)], day=NEXT_DAY)
    (landing.root / missing["chunks"][0]["path"]).unlink()
    landing.publish(landing.document(4, [], day=NEXT_DAY), b"")
    about = {"dataset": "dxr_metadata", "kind": "classification"}
    older = [
        news("a", "2026-01-31T02:00:00+02:00", labels=["x"], file_size=2**40),
        news("gone", "2026-01-31T00:00:00Z"),
    ]
    landing.commit(6, [[*older, b"5", b'{"relative_path":"nowhere"}']], **about, rejects=[reject(1, None)])
    scan = {"scope": {"prefix": None, "complete": True}, "completed_at": "2026-01-31T01:00:00Z"}
    landing.commit(
        7, [[news("a", "2026-01-31T00:30:00Z", labels=["y"]), news("b", "2026-01-31T00:30:00Z")]], **about, **scan
    )


@contextmanager
def client(server: ConnectServer, landing: LandingBuilder, *flags: str) -> Iterator[subprocess.Popen[str]]:
    """The command as a client of the server."""
    command = [sys.executable, "-m", "spark_jobs.ingest", f"--landing-path={landing.root}", *flags]
    environ = {**os.environ, "SPARK_REMOTE": server.url()}
    with subprocess.Popen(
        command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            yield running
        finally:
            running.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture(scope="module")
def places(server, spark, tmp_path_factory) -> tuple[Place, Place]:
    """The same landing, on classic Spark and through the server, at the same time."""
    root = tmp_path_factory.mktemp("places")
    classic = Place(LandingBuilder(root / "classic"), root / "tables")
    connect = Place(LandingBuilder(root / "connect"), server.warehouse)
    fill(classic.landing)
    shutil.copytree(classic.landing.root, connect.landing.root)
    tables = [f"--checkpoint-path={root / 'cp-classic'}", f"--dxr-delta-path={classic.tables / 'file_metadata'}"]
    with client(server, connect.landing, f"--checkpoint-path={root / 'cp-connect'}", *MANAGED) as running:
        assert main([f"--landing-path={classic.landing.root}", *tables]) == 0
        out, err = running.communicate(timeout=200)
    assert (running.returncode, out) == (0, DONE), err + server.log()[-20_000:]
    # That it was the worker which said the rest shows that it did the work.
    assert f"\ningested file_metadata {DAY} run {run_id(2)}: 5 rows, 3 quarantined, " in server.log()
    return classic, connect


def check(places: tuple[Place, Place], table: str) -> list[dict]:
    classic, connect = places
    assert connect.content(table) == classic.content(table)
    assert connect.description(table) == classic.description(table)
    assert connect.history(table) == classic.history(table)
    return connect.content(table)


def test_the_snapshot_table(places):
    found = {row["file_id"]: row for row in check(places, "file_metadata")}
    assert sorted(found) == ["f-0", "f-1", "f-2", "g-0", "t"]
    typed = found["t"]
    assert (typed["size"], typed["labels_json"], typed["owner_json"], typed["path"]) == (77, '[{"x":1}]', '"me"', "/ä")
    assert places[1].history("file_metadata") == [("CREATE TABLE", None), ("WRITE", run_id(2))]


def test_the_classification_table(places):
    found = {row["relative_path"]: row for row in check(places, "dxr_metadata")}
    assert {path: (row["status"], row["labels"], row["_run_id"]) for path, row in found.items()} == {
        "a": ("LABELLED", ["y"], run_id(7)),
        "b": ("LABELLED", None, run_id(7)),
        "gone": ("DELETED", None, run_id(7)),
    }
    assert found["gone"]["deleted_at"] == datetime(2026, 1, 31, 1, tzinfo=UTC)
    assert places[1].history("dxr_metadata") == [("CREATE TABLE", None), ("MERGE", f"{run_id(6)},{run_id(7)}")]


def test_the_quarantine(places):
    found = check(places, "dxr_quarantine")
    assert sorted((row["run_id"], row["line_number"], row["raw"]) for row in found if row["raw"]) == [
        (run_id(2), 1, b'{"fileId":"\xff"}'),
        (run_id(2), 2, b"no row"),
        (run_id(2), 7, b"\xff"),
        (run_id(6), 3, b"5"),
        (run_id(6), 4, b'{"relative_path":"nowhere"}'),
    ]
    assert [(row["run_id"], row["line_number"]) for row in found if row["raw"] is None] == [(run_id(6), 1)]
    assert [run for _, run in places[1].history("dxr_quarantine")] == [None, run_id(2), run_id(6)]


def test_the_ingest_log_and_the_receipts(places):
    reasons = {row["run_id"]: (row["reason"] or "").partition(":")[0] for row in check(places, "dxr_ingest_log")}
    bad = {run_id(1): "NEWER_STANDS", run_id(3): "CHUNK_MISSING", run_id(4): "COMMIT_UNREADABLE"}
    assert reasons == dict.fromkeys(map(run_id, (2, 6, 7)), "") | bad
    # The note on the MERGE did not stay in the session.
    assert [run and sorted(run.split(",")) for _, run in places[1].history("dxr_ingest_log")] == [None, sorted(reasons)]
    classic, connect = (place.receipts() for place in places)
    assert list(map(sorted, (classic, connect))) == [sorted(reasons)] * 2
    for run, receipt in connect.items():
        name = receipt["table"] and receipt["table"].removeprefix("spark_catalog.default.")
        expected = classic[run]["table"] and Path(classic[run]["table"]).name
        assert {**receipt, "table": name, "ingested_at": ""} == {**classic[run], "table": expected, "ingested_at": ""}
    # The session is not in UTC, what the job says is.
    for row in places[1].rows("dxr_ingest_log"):
        said = datetime.fromisoformat(connect[row["run_id"]]["ingested_at"])
        assert abs(row["ended_at"] - said) < timedelta(minutes=30)


def test_the_same_commits_again_change_nothing(places, server, tmp_path):
    connect = places[1]
    before = connect.files()
    with client(server, connect.landing, f"--checkpoint-path={tmp_path / 'cp'}", *MANAGED) as running:
        out, err = running.communicate(timeout=100)
    nothing = "done: 0 ingested, 0 superseded, 0 refused; 0 rows, 0 quarantined, 0 commits pending\n"
    assert (running.returncode, out) == (0, nothing), err
    assert connect.files() == before


def test_a_failure_in_the_worker_is_one_sentence_and_exit_code_1(server, tmp_path):
    landing, table = LandingBuilder(tmp_path / "landing"), tmp_path / "tables" / "file_metadata"
    landing.commit(1, [rows(1)])
    write_deltalake(str(table), pa.table({"size": ["5"], "ingestion_date": [DAY]}), partition_by=["ingestion_date"])
    with client(server, landing, f"--checkpoint-path={tmp_path / 'cp'}", f"--dxr-delta-path={table}") as running:
        err = running.communicate(timeout=100)[1]
    assert running.returncode == 1
    assert f"dxr-ingest-tables: {table}: column size is STRING, the job writes BIGINT. Rename" in err
    assert "Traceback" not in err
