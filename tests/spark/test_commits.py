"""Commits are judged without Spark: what is refused, what wins, and that no document can crash the job."""

from __future__ import annotations

import copy
import json
from datetime import UTC, date, datetime
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_jobs.commits import CommitName, FullScan, SnapshotCommit, by_day, parse_name
from spark_jobs.documents import parse_classification, parse_document, parse_snapshot
from spark_jobs.errors import CommitRefused
from tests.spark.landing_builder import run_id

RUN = run_id(1)
NAME = CommitName("file_metadata", 5, RUN)
FOLDER = f"chunks/file_metadata/ingestion_date=2026-01-31/run_id={RUN}/attempt=1"


def entry(name: str = "part-00000.jsonl.gz", count: int = 3) -> dict:
    return {"path": f"{FOLDER}/{name}", "rows": count, "raw_bytes": 30, "stored_bytes": 20, "sha256": "a" * 64}


def document(**changes) -> dict:
    return {
        "format": 1,
        "kind": "snapshot",
        "dataset": "file_metadata",
        "run_id": RUN,
        "sequence": 5,
        "ingestion_date": "2026-01-31",
        "record_cap": None,
        "rows": 3,
        "rejected_rows": 2,
        "raw_bytes": 30,
        "chunks": [entry()],
        "rejects": [entry("rejects-00000.jsonl.gz", 2)],
        **changes,
    }


def parse(content: bytes) -> SnapshotCommit:
    return parse_snapshot(NAME, parse_document(NAME, content))


def verdict(content: bytes) -> str:
    """Why a commit is refused; empty if it is not. Anything but a refusal passes through and fails the test."""
    try:
        parse(content)
    except CommitRefused as refused:
        return refused.reason
    return ""


def test_a_good_commit_is_read_and_unknown_keys_are_ignored():
    commit = parse(json.dumps(document(later="key")).encode())
    assert (commit.rows, commit.rejected_rows, commit.capped) == (3, 2, False)
    assert commit.ingestion_date == date(2026, 1, 31)
    assert [chunk.path for chunk in commit.chunks] == [f"{FOLDER}/part-00000.jsonl.gz"]


def test_keys_that_are_not_required_may_be_absent():
    small = {key: value for key, value in document(rows=0, chunks=[]).items() if key not in {"rejects", "raw_bytes"}}
    del small["rejected_rows"], small["record_cap"]
    assert parse(json.dumps(small).encode()).rejects == ()


@pytest.mark.parametrize("content", [b"", b"  \n", b"{", b"[]", b"5", b"\xff{}", b"[" * 100_000, b'{"format": 1'])
def test_unreadable_files_are_refused(content):
    with pytest.raises(CommitRefused, match="COMMIT_UNREADABLE"):
        parse(content)


@pytest.mark.parametrize("key", ["format", "kind", "dataset", "run_id", "sequence", "rows", "chunks", "ingestion_date"])
def test_a_missing_required_key_is_refused_by_name(key):
    broken = document()
    del broken[key]
    with pytest.raises(CommitRefused, match=key):
        parse(json.dumps(broken).encode())


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"format": True},
        {"format": "1"},
        {"dataset": "other"},
        {"run_id": run_id(2)},
        {"sequence": 6},
        {"sequence": "5"},
        {"sequence": 5.0},
        {"sequence": True},
        {"sequence": 2**63},
        {"rows": 4},
        {"rows": -1},
        {"rejected_rows": 1},
        {"raw_bytes": 31},
        {"ingestion_date": "2026-02-30"},
        {"ingestion_date": "20260131"},
        {"ingestion_date": 20260131},
        {"ingestion_date": None},
        {"chunks": None},
        {"chunks": {}},
        {"chunks": ["part"]},
        {"chunks": [entry(), entry()], "rows": 6, "raw_bytes": 60},
        {"chunks": [entry() | {"sha256": "A" * 64}]},
        {"chunks": [entry() | {"sha256": None}]},
        {"chunks": [entry() | {"rows": "3"}]},
        {"chunks": [entry() | {"stored_bytes": 2**40}]},
        {"rejects": "none"},
    ],
)
def test_what_contradicts_itself_or_its_name_is_refused(changes):
    with pytest.raises(CommitRefused, match="COMMIT_INVALID"):
        parse(json.dumps(document(**changes)).encode())


@pytest.mark.parametrize(
    "path",
    [
        None,
        "",
        "/etc/passwd",
        f"/{FOLDER}/part-00000.jsonl.gz",
        f"../{FOLDER}/part-00000.jsonl.gz",
        f"{FOLDER}/../../part-00000.jsonl.gz",
        f"{FOLDER}/sub/part-00000.jsonl.gz",
        f"{FOLDER}//part-00000.jsonl.gz",
        f"{FOLDER}/.part-00000.jsonl.gz",
        f"{FOLDER}/_part-00000.jsonl.gz",
        f"{FOLDER}/part-*.jsonl.gz",
        f"{FOLDER}/part-00000.jsonl",
        f"{FOLDER}/part-00000.jsonl.gz\n",
        f"{FOLDER.replace('attempt=1', 'attempt=x')}/part-00000.jsonl.gz",
        f"{FOLDER.replace('file_metadata', 'other')}/part-00000.jsonl.gz",
        f"{FOLDER.replace('2026-01-31', '2026-02-01')}/part-00000.jsonl.gz",
        f"{FOLDER.replace(RUN, run_id(2))}/part-00000.jsonl.gz",
        "dbfs:/Volumes/x/part-00000.jsonl.gz",
    ],
)
def test_a_path_outside_the_run_is_refused(path):
    with pytest.raises(CommitRefused, match="path"):
        parse(json.dumps(document(chunks=[entry() | {"path": path}])).encode())


def classification(**changes):
    said = {"kind": "classification", "completed_at": "2026-01-31T01:00:00+01:00", **changes}
    return parse_classification(NAME, parse_document(NAME, json.dumps(document(**said)).encode()))


def test_a_classification_needs_no_day_and_may_name_chunks_of_several():
    other = entry("part-00001.jsonl.gz") | {"path": f"{FOLDER}/part-00000.jsonl.gz".replace("01-31", "02-01")}
    commit = classification(ingestion_date=None, chunks=[entry(), other], rows=6, raw_bytes=60)
    assert (commit.ingestion_date, commit.rows, commit.full_scan) == (None, 6, None)
    assert classification().ingestion_date == date(2026, 1, 31)


@pytest.mark.parametrize(
    ("scope", "prefix"),
    [
        (None, None),
        ({"prefix": "a", "complete": False}, None),
        ({"prefix": None, "complete": True}, ""),
        ({"complete": True}, ""),
        ({"prefix": "/a/b/", "complete": True, "later": "key"}, "a/b"),
    ],
)
def test_only_a_complete_scope_is_a_full_scan(scope, prefix):
    at = datetime(2026, 1, 31, tzinfo=UTC)
    assert classification(scope=scope).full_scan == (None if prefix is None else FullScan(prefix, at))


@pytest.mark.parametrize(
    "changes",
    [
        {"scope": "all"},
        {"scope": {"prefix": 5, "complete": True}},
        {"scope": {"prefix": "a", "complete": 1}},
        {"scope": {"prefix": "a"}},
        {"scope": {"complete": True}, "completed_at": None},
        {"scope": {"complete": True}, "completed_at": "soon"},
        {"ingestion_date": "2026-02-30"},
        {"chunks": [entry() | {"path": f"{FOLDER}/part-00000.jsonl.gz".replace("01-31", "1-31")}]},
    ],
)
def test_a_classification_that_contradicts_itself_is_refused(changes):
    with pytest.raises(CommitRefused, match="COMMIT_INVALID"):
        classification(**changes)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(document())), JSON)
def test_no_value_of_any_key_crashes_the_job(key, value):
    broken = copy.deepcopy(document())
    broken[key] = value
    assert verdict(json.dumps(broken).encode("utf-8", "surrogatepass")).partition(":")[0] in {
        "",
        "COMMIT_INVALID",
        "COMMIT_UNREADABLE",
    }


@given(st.binary(max_size=200) | st.integers(0, 600).map(lambda cut: json.dumps(document()).encode()[:cut]))
def test_no_bytes_crash_the_job(content):
    assert len(verdict(content)) < 300


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (f"file_metadata.00000000000000000005.{RUN}.json", NAME),
        (f"file_metadata.5.{RUN}.json", None),
        (f"File.00000000000000000005.{RUN}.json", None),
        (f"file_metadata.00000000000000000005.{RUN}.json.tmp", None),
        (f".file_metadata.00000000000000000005.{RUN}.json.tmp", None),
        (f"file_metadata.00000000000000000005.{run_id(10).upper()}.json", None),
        ("file_metadata.00000000000000000005.run.json", None),
        (f"file_metadata.\u0660{'0' * 19}.{RUN}.json", None),
        ("notes.json", None),
        ("", None),
    ],
)
def test_a_commit_is_known_by_its_name(file, name):
    assert parse_name(file) == name
    assert name is None or name.file == file


def snapshot(number: int, *, sequence: int | None = None, capped: bool = False, day: int = 1, dataset: str = "a"):
    name = CommitName(dataset, number if sequence is None else sequence, run_id(number))
    return SnapshotCommit(name, date(2026, 1, day), 0, 0, (), (), capped)


def test_the_newest_of_a_day_comes_first_whatever_the_order_of_arrival():
    commits = [snapshot(1), snapshot(3), snapshot(2, sequence=3), snapshot(9, capped=True)]
    for arrival in permutations(commits):
        assert [[commit.run_id for commit in day] for day in by_day(arrival)] == [
            [run_id(3), run_id(2), run_id(1), run_id(9)]
        ]


def test_days_and_datasets_are_kept_apart():
    commits = [snapshot(1), snapshot(2, day=2), snapshot(3, dataset="b"), snapshot(4)]
    assert [[int(commit.run_id[-2:]) for commit in day] for day in by_day(commits)] == [[4, 1], [2], [3]]
