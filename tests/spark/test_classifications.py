"""The classification table holds the newest news of each file, in whatever order, and however often, commits arrive."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from deltalake import DeltaTable, QueryBuilder

from spark_jobs import batch, merges
from spark_jobs.classifications import Mark, Volume, marks_of
from spark_jobs.commits import ClassificationCommit, CommitName, FullScan
from spark_jobs.errors import TableMismatch
from spark_jobs.schemas import CLASSIFICATION
from tests.spark.landing_builder import reject, rows, run_id

TABLE = "dxr_metadata"
START = datetime(2026, 1, 31, tzinfo=UTC)


def news(path: str, *, volume: str = "v", status: str = "LABELLED", **fields: object) -> bytes:
    """A line about a file."""
    place = {"catalog_name": "c", "schema_name": "s", "volume_name": volume, "relative_path": path}
    return json.dumps({"file_path": f"/Volumes/c/s/{volume}/{path}", **place, "status": status, **fields}).encode()


def classify(house, number: int, *chunks: list[bytes], scope: tuple[str | None, bool] = ("", False), **options) -> dict:
    """Publish a commit; its run completed as many seconds after the start as its number says."""
    at = (START + timedelta(seconds=number)).isoformat()
    prefix, complete = scope
    said = {"ingestion_date": None, "completed_at": at, "scope": {"prefix": prefix, "complete": complete}}
    return house.landing.commit(number, list(chunks), dataset=TABLE, kind="classification", **{**said, **options})


def found(house, *columns: str) -> dict:
    """The table by relative path, of one column or several."""
    got = house.table(TABLE).select("relative_path", *columns).collect()
    assert len({row.relative_path for row in got}) == len(got)
    return {row[0]: row[1] if len(columns) == 1 else tuple(row[1:]) for row in got}


def test_every_column_holds_what_the_line_says_and_null_what_it_cannot(house):
    whole = {
        "file_path": "/Volumes/c/s/v/a/b.txt",
        "relative_path": "a/b.txt",
        "catalog_name": "c",
        "schema_name": "s",
        "volume_name": "v",
        "file_size": 2**40,
        "modification_time": 1767225600123,
        "datasource_id": "17",
        "datasource_scan_id": 2**33,
        "job_id": "j",
        "labels": ["Secret", "ünï"],
        "tags": [],
        "categories": ["HR"],
        "raw_metadata": '{"a": [1]}',
        "collected_at": "2026-01-31T02:00:00.5+02:00",
        "file_name": "b.txt",
        "object_id": "o",
        "mime_type": "text/plain",
        "sha256": "f" * 64,
        "status": "LABELLED",
        "reason": None,
        "deleted_at": None,
    }
    wrong = {name: {"x": 1} for name in whole} | {"file_path": "/w", "raw_metadata": {"x": [1.5]}, "deleted_at": 5}
    wrong |= {"labels": '["a"]', "tags": "t", "file_size": "1.5", "modification_time": True, "collected_at": "12:30"}
    lines = [json.dumps(whole).encode(), json.dumps(wrong).encode(), b'{"file_path":"5","file_size":"7","new":1}']
    commit = classify(house, 1, lines)
    house.ingest()
    good, bad, small = sorted(house.table(TABLE).collect(), key=lambda row: -len(row.file_path))
    expected = whole | {"collected_at": (START + timedelta(seconds=0.5)).replace(tzinfo=None)}
    assert {name: good[name] for name in whole} == expected
    assert (good._run_id, good._sequence, good._ingested_at is None) == (run_id(1), 1, False)
    nulls = ["file_size", "modification_time", "datasource_scan_id", "labels", "tags", "categories"]
    assert [bad[name] for name in [*nulls, "collected_at", "deleted_at"]] == [None] * 8
    assert (bad.raw_metadata, small.file_size, small.labels) == ('{"x":[1.5]}', 7, None)
    receipt = house.landing.receipt(1)
    assert (receipt["state"], receipt["table"], receipt["table_version"]) == ("ingested", house.path(TABLE), 1)
    assert (receipt["table_rows"], receipt["quarantined_rows"]) == (commit["rows"], 0)
    table = DeltaTable(house.path(TABLE))
    assert {one.name: one.metadata["comment"] for one in table.schema().fields} == {
        column.name: column.comment for column in CLASSIFICATION.columns
    }
    assert table.metadata().description == CLASSIFICATION.comment
    assert table.metadata().configuration == {
        "delta.enableDeletionVectors": "true",
        "delta.dataSkippingStatsColumns": "file_path,_sequence",
    }
    detail = house.spark.sql(f"DESCRIBE DETAIL delta.`{house.path(TABLE)}`").collect()[0]
    assert detail.clusteringColumns == ["file_path"]


def test_lines_that_are_no_rows_are_quarantined_byte_for_byte_with_their_place(house):
    no_rows = {
        b"no json": "not exactly one JSON object",
        b'{"file_path":"/a"} x': "not exactly one JSON object",
        b"": "not exactly one JSON object",
        b'{"file_path":"\xff"}': "not exactly one JSON object",
        b'{"file_path":"/a","labels":["x"}': "not exactly one JSON object",
        b'{"relative_path":"a"}': "NO_FILE_PATH",
        b'{"file_path":null}': "NO_FILE_PATH",
        b'{"file_path":""}': "NO_FILE_PATH",
        b'{"file_path":5}': "NO_FILE_PATH",
        b'{"file_path":-5.5}': "NO_FILE_PATH",
        b'{"file_path":true}': "NO_FILE_PATH",
        b'{"file_path":["/a"]}': "NO_FILE_PATH",
        b'{"file_path":{"file_name":"/a"}}': "NO_FILE_PATH",
        b'{"FILE_PATH":"/a"}': "NO_FILE_PATH",
    }
    quoted = [b'{"file_path" :\t"true"}', b'{"file_path":"{a}"}', b'{"file_path":"[1]"}', b'{"file_path":"trueish"}']
    commit = classify(house, 1, [news("a"), *no_rows, news("b")], quoted, rejects=[reject(7, b"\xff\x00")])
    classify(house, 2, [b"5"], ingestion_date="2026-01-31")
    house.ingest()
    receipt = house.landing.receipt(1)
    assert (receipt["state"], receipt["table_rows"], receipt["quarantined_rows"]) == ("ingested", 6, len(no_rows) + 1)
    assert receipt["table_rows"] + receipt["quarantined_rows"] == commit["rows"] + commit["rejected_rows"]
    lines = house.table("dxr_quarantine").where(f"run_id = '{run_id(1)}'").collect()
    chunk = commit["chunks"][0]["path"]
    got = {(row.chunk, row.line_number): (bytes(row.raw), row.reason.partition(":")[0]) for row in lines}
    expected = {(chunk, number): (line, no_rows[line]) for number, line in enumerate(no_rows, start=2)}
    expected[commit["rejects"][0]["path"], 7] = (b"\xff\x00", "not JSON")
    assert {place: (raw, reason[:27]) for place, (raw, reason) in got.items()} == expected
    assert {(row.dataset, row.ingestion_date) for row in lines} == {(TABLE, None)}
    # A commit that has a day keeps it; one without a single row is ingested, too.
    assert (
        str(house.table("dxr_quarantine").where(f"run_id = '{run_id(2)}'").collect()[0].ingestion_date) == "2026-01-31"
    )
    assert (house.landing.receipt(2)["state"], house.landing.receipt(2)["table_rows"]) == ("ingested", 0)


def test_a_backlog_is_one_merge_and_the_newest_news_win(house):
    classify(house, 1, [news("a", file_size=1), news("b", file_size=1)])
    classify(house, 2, [news("a", file_size=21), news("c", file_size=21)], [news("a", file_size=22)])
    classify(house, 4, [news("b", file_size=4), news("c", file_size=4)], sequence=3)
    classify(house, 3, [news("b", file_size=3), news("d", file_size=3)])
    house.ingest()
    # Of one run the last line is the newest, of equal sequences the higher run id.
    assert found(house, "file_size") == {"a": 22, "b": 4, "c": 4, "d": 3}
    assert house.landing.states(1, 2, 3, 4) == ["ingested"] * 4
    assert [house.landing.receipt(number)["table_rows"] for number in (1, 2, 3, 4)] == [2, 3, 2, 2]
    assert house.versions(TABLE) == 2
    log = house.table("dxr_ingest_log").collect()
    assert sorted((row.kind, row.sequence, row.table_rows, row.ingestion_date) for row in log) == [
        ("classification", 1, 2, None),
        ("classification", 2, 3, None),
        ("classification", 3, 2, None),
        ("classification", 3, 2, None),
    ]


def test_a_full_scan_marks_what_it_does_not_hold_under_its_prefix(house):
    odd = "o'dd \\{x}/\u00fc"
    files = ["a/b/1", "a/b/2", "a/b", "a/bc/1", "a/1", f"{odd}/1", "b/1"]
    classify(house, 1, [news(path, file_size=1, reason="why") for path in files] + [news("a/b/3", volume="w")])
    house.ingest()
    assert set(found(house, "status").values()) == {"LABELLED"}
    classify(house, 2, [], scope=("", True))  # it names no volume, so it says nothing
    classify(house, 3, [news("a/b/1")], scope=("a/b", False))  # nor does one that is not complete
    classify(house, 4, [news("a/b/1")], scope=("/a/b/", True))
    classify(house, 5, [news(f"{odd}/2")], scope=(odd, True))
    house.ingest()
    status = dict.fromkeys(files, "LABELLED") | {"a/b/3": "LABELLED", f"{odd}/2": "LABELLED"}
    status |= dict.fromkeys(["a/b/2", "a/b", f"{odd}/1"], "DELETED")
    assert found(house, "status") == status
    fields = found(house, "deleted_at", "_run_id", "_sequence", "file_size", "reason")
    gone = (START + timedelta(seconds=4)).replace(tzinfo=None)
    assert fields["a/b/2"] == fields["a/b"] == (gone, run_id(4), 4, 1, None)
    assert fields["a/bc/1"] == (None, run_id(1), 1, 1, "why")
    # Seen again, whatever the line says of its deletion; and the whole volume, but not the other one.
    classify(house, 6, [news("a/b/2", deleted_at="2026-01-01T00:00:00Z")], scope=(None, True))
    house.ingest()
    status = dict.fromkeys(status, "DELETED") | {"a/b/2": "LABELLED", "a/b/3": "LABELLED"}
    assert found(house, "status") == status
    assert found(house, "deleted_at", "_sequence")["a/b/2"] == (None, 6)
    # Another engine reads it, deletion vectors and all.
    query = QueryBuilder().register("t", DeltaTable(house.path(TABLE)))
    read = query.execute("SELECT relative_path, status FROM t").read_all()
    assert dict(zip(read["relative_path"].to_pylist(), read["status"].to_pylist(), strict=True)) == status


def test_bad_commits_are_refused_and_the_others_are_merged(house, capsys):
    (lost,) = classify(house, 1, [news("a")])["chunks"]
    altered = classify(house, 2, [news("a")])["chunks"][0]["path"]
    (house.landing.root / lost["path"]).unlink()
    content = bytearray((house.landing.root / altered).read_bytes())
    content[-1] ^= 1
    (house.landing.root / altered).write_bytes(bytes(content))
    document = house.landing.document(3, [[news("a")]], dataset=TABLE, kind="classification")
    house.landing.publish(document | {"rows": 2} | {"chunks": [document["chunks"][0] | {"rows": 2}]})
    house.landing.commit(4, [rows(1)], dataset=TABLE)
    classify(house, 5, [news("a")], scope=("", "yes"))
    classify(house, 6, [news("a")], scope=("", True), completed_at="soon")
    house.landing.commit(7, [[news("a")]], dataset="contracts", kind="classification")
    good = classify(house, 8, [news("b")], scope=("", True))
    house.landing.publish(good | {"sequence": 7})  # an older file that claims the same run
    house.ingest()
    reasons = [(house.landing.receipt(number)["reason"] or "").partition(":")[0] for number in range(1, 9)]
    assert reasons == [
        "CHUNK_MISSING",
        "CHUNK_ALTERED",
        "CHUNK_MISCOUNTED",
        "KIND_MISMATCH",
        "COMMIT_INVALID",
        "COMMIT_INVALID",
        "KIND_MISMATCH",
        "",
    ]
    assert found(house, "status") == {"b": "LABELLED"}
    # A full scan whose chunks were cleaned away cannot be read again beside late news; that is said, and no failure.
    (house.landing.root / good["chunks"][0]["path"]).unlink()
    classify(house, 9, [news("late")], sequence=1)
    house.ingest()
    assert found(house, "status") == {"b": "LABELLED", "late": "LABELLED"}
    assert f"run {run_id(8)} is a full scan newer than others of this batch" in capsys.readouterr().out


SEED = """file_path STRING, relative_path STRING, catalog_name STRING, schema_name STRING, volume_name STRING,
file_size BIGINT, modification_time BIGINT, datasource_id STRING, datasource_scan_id BIGINT, job_id STRING,
labels ARRAY<STRING>, tags ARRAY<STRING>, categories ARRAY<STRING>, raw_metadata STRING, collected_at TIMESTAMP"""


def test_the_table_of_the_seed_is_taken_over_and_one_of_other_types_is_not(house):
    path = house.path(TABLE)
    house.spark.sql(f"CREATE TABLE delta.`{path}` ({SEED}) USING delta")
    place = "'c', 's', 'v', 1, 1, '1', 1, 'j', array('old'), null, null, '{}', timestamp'2025-01-01'"
    values = ", ".join(f"('/Volumes/c/s/v/{name}', '{name}', {place})" for name in ("a", "b/1", "b/2"))
    house.spark.sql(f"INSERT INTO delta.`{path}` VALUES {values}")
    classify(house, 0, [news("b/1", labels=["new"])], scope=("b", True))
    house.ingest()
    assert found(house, "labels", "status", "_sequence") == {
        "a": (["old"], None, None),
        "b/1": (["new"], "LABELLED", 0),
        "b/2": (["old"], "DELETED", 0),
    }
    assert house.table(TABLE).columns == [column.name for column in CLASSIFICATION.columns]
    house.spark.sql(f"CREATE TABLE delta.`{house.path('other')}` (labels STRING) USING delta")
    other = house.with_settings(classifications=house.settings.classifications.beside("other"))
    classify(house, 1, [news("a")])
    house.landing.commit(2, [rows(1)])
    with pytest.raises(TableMismatch, match=r"other: column labels is STRING, the job writes ARRAY<STRING>\. Rename"):
        other.ingest()
    assert house.landing.states(1, 2) == [None, "ingested"]


class Crash(BaseException):
    """The end of the process, as far as the job can see."""


def crash_after(done):
    """A step that is the last one."""

    def last_step(*arguments):
        done(*arguments)
        raise Crash

    return last_step


def test_a_crash_after_any_step_is_healed_by_the_next_run(house, monkeypatch):
    """Each run but the last one gets one step further than the one before."""
    classify(house, 1, [news("f1"), b"x"])
    classify(house, 2, [news("f2")])
    delivered = {f"{TABLE}.{number:020d}.{run_id(number)}.json" for number in (1, 2)}
    steps = ((merges, "merge_classifications"), (merges, "quarantine_lines"), (merges, "publish_receipt"))
    for room, step in (*steps, (batch, "append_log")):
        with monkeypatch.context() as patch:
            patch.setattr(room, step, crash_after(getattr(room, step)))
            with pytest.raises(Crash):
                house.ingest(delivered)
    house.ingest(delivered)
    assert found(house, "status") == {"f1": "LABELLED", "f2": "LABELLED"}
    assert house.versions(TABLE) == 2
    receipts = [house.landing.receipt(number) for number in (1, 2)]
    assert [(one["state"], one["table_version"], one["table_rows"]) for one in receipts] == [("ingested", 1, 1)] * 2
    assert [one["quarantined_rows"] for one in receipts] == [1, 0]
    assert [bytes(row.raw) for row in house.table("dxr_quarantine").collect()] == [b"x"]
    assert sorted(row.run_id for row in house.table("dxr_ingest_log").collect()) == [run_id(1), run_id(2)]


@dataclass
class Run:
    """A commit of a random history; its rows are (volume, path, status, size), in the order of its lines."""

    number: int
    sequence: int
    rows: list[tuple[str, str, str, int]]
    prefix: str | None
    complete: bool
    batch: int = field(default=0)

    @property
    def at(self) -> datetime:
        return (START + timedelta(seconds=self.number)).replace(tzinfo=None)


def told(history: list[Run]) -> dict:
    """What the table must say once each run has told its news, one after the other: the reference."""
    table: dict = {}
    for run in sorted(history, key=lambda run: (run.sequence, run_id(run.number))):
        mine = (run_id(run.number), run.sequence)
        held = {(volume, path): (status, size) for volume, path, status, size in run.rows}
        for place, (status, size) in held.items():
            table[place] = (status, None, size, *mine)
        volumes = {volume for volume, _ in held} if run.complete else set()
        prefix = run.prefix or ""
        for (volume, path), row in table.items():
            under = prefix == "" or path == prefix or path.startswith(f"{prefix}/")
            if volume in volumes and under and (volume, path) not in held:
                table[volume, path] = ("DELETED", run.at, row[2], *mine)
    return table


def history(random: Random, number: int) -> list[Run]:
    """Seven runs over two volumes, and the batch in which each arrives: every other history arrives in order."""
    runs = []
    for place in range(7):
        paths = random.choices(["a", "a/b", "a/b/1", "a/bc", "a/b/c/1", "c/1"], k=random.randrange(5))
        volume = [f"h{number}{name}" for name in random.choice(["x", "x", "y", "xy"])]
        statuses = ["LABELLED", "LABELLED", "TOO_LARGE", "DELETED"]
        lines = [(random.choice(volume), path, random.choice(statuses), random.randrange(99)) for path in paths]
        scope = random.choice([None, "", "a", "a/b", "c"]), random.random() < 0.5
        # Every third has the sequence of the one before.
        runs.append(Run(number * 10 + place, number * 10 + place - (place % 3 == 2), lines, *scope))
    batches = [random.randrange(3) for _ in runs]
    for run, arrival in zip(runs, sorted(batches) if number % 2 else batches, strict=True):
        run.batch = arrival
    return runs


def test_random_histories_in_any_order_and_any_batches_say_what_one_after_the_other_says(house):
    random = Random(20260131)
    histories = [history(random, number) for number in range(12)]
    for turn in range(3):
        for run in (run for runs in histories for run in runs if run.batch == turn):
            lines = [news(path, volume=name, status=status, file_size=size) for name, path, status, size in run.rows]
            chunks = [lines] if run.number % 4 else [lines[:2], lines[2:]]
            classify(house, run.number, *chunks, sequence=run.sequence, scope=(run.prefix, run.complete))
        house.ingest()
    assert house.versions(TABLE) == 4
    columns = ("volume_name", "relative_path", "status", "deleted_at", "file_size", "_run_id", "_sequence")
    got = {(row[0], row[1]): tuple(row[2:]) for row in house.table(TABLE).select(*columns).collect()}
    for number, runs in enumerate(histories):
        mine = {place: row for place, row in got.items() if place[0][:-1] == f"h{number}"}
        expected = told(runs)
        if number % 2 == 0:  # not in order
            # What is known of a file that is gone is what was known when it was first found gone.
            mine = {place: row if row[0] != "DELETED" else (*row[:2], None, *row[3:]) for place, row in mine.items()}
            expected = {
                place: row if row[0] != "DELETED" else (*row[:2], None, *row[3:]) for place, row in expected.items()
            }
        assert mine == expected, runs


def test_of_scans_of_equal_reach_the_newest_has_the_last_word():
    x, y = Volume("c", "s", "x"), Volume("c", "s", "y")
    scans = [(1, "a"), (3, "a"), (2, "a"), (4, "b")]
    commits = [
        ClassificationCommit(CommitName(TABLE, number, run_id(number)), None, 1, 0, (), (), FullScan(prefix, START))
        for number, prefix in scans
    ]
    part = ClassificationCommit(CommitName(TABLE, 9, run_id(9)), None, 1, 0, (), (), None)
    volumes = {run_id(1): {x, y}, run_id(2): {y}, run_id(3): {x}, run_id(9): {x}}
    assert marks_of([*commits, part], volumes) == [
        Mark(3, run_id(3), START, x, "a"),
        Mark(2, run_id(2), START, y, "a"),
    ]
