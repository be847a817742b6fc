"""A real folder as a datasource: real names, sizes, times and hashes, and what is found in the text."""

import hashlib
import json
import os

import pytest

from tests.simulators.dxr import FolderFiles
from tests.simulators.dxr.findings import annotators_in, labels_for, luhn
from tests.simulators.dxr.folder import HASHED_BYTES_MAX


def rows_of(source):
    return [json.loads(line) for line in b"".join(source.blocks()).splitlines()]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "Übersicht.csv").write_text("name,mail\nAnna,anna@example.org\nBo,anna@example.org\n")
    (tmp_path / "a.txt").write_text("nothing to see")
    (tmp_path / "c.bin").write_bytes(b"\0\1anna@example.org")
    (tmp_path / "link.txt").symlink_to(tmp_path / "a.txt")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def test_regular_files_in_stable_order(folder):
    rows = rows_of(FolderFiles(folder, datasource_name="Share"))
    assert [row["path"] for row in rows] == ["a.txt", "b/Übersicht.csv", "c.bin"]
    row = rows[1]
    content = (folder / "b" / "Übersicht.csv").read_bytes()
    assert (row["fileName"], row["size"]) == ("Übersicht.csv", len(content))
    assert row["contentSha256"] == hashlib.sha256(content).hexdigest()
    assert row["mimeType"] == "text/csv"
    assert row["datasource"]["name"] == "Share"
    assert row["datasource"]["connector"] == {"type": "FOLDER_PATH"}
    assert row["lastModifiedAt"].endswith("Z")
    assert row["entitlements"]["whoCanAccess"][0]["accountType"] == "USER"
    assert rows == rows_of(FolderFiles(folder, datasource_name="Share"))


def test_annotators_are_found_in_text_only(folder):
    plain, table, binary = rows_of(FolderFiles(folder))
    assert "annotators" not in plain
    assert "annotators" not in binary
    (found,) = table["annotators"]
    assert (found["name"], found["domain"]["name"], found["uniquePhrases"]) == ("E-mail address", "PII", 1)
    (annotation,) = found["annotations"]
    assert annotation == {
        "phrase": "anna@example.org",
        "locations": [{"start": 15, "end": 31}, {"start": 35, "end": 51}],
    }
    assert [label["name"] for label in table["labels"]] == ["Personal data"]


def test_long_files_are_not_hashed_and_names_need_not_be_text(tmp_path):
    (tmp_path / "long.dat").write_bytes(b"x" * (HASHED_BYTES_MAX + 1))
    (tmp_path / os.fsdecode(b"bad\xffname")).write_bytes(b"")
    bad, long = rows_of(FolderFiles(tmp_path))
    assert "contentSha256" not in long
    assert (bad["fileName"], bad["size"]) == ("bad\ufffdname", 0)


def test_no_more_files_than_asked_for(folder):
    assert [row["path"] for row in rows_of(FolderFiles(folder, max_files=2))] == ["a.txt", "b/Übersicht.csv"]


def test_files_that_go_between_listing_and_reading_are_skipped(tmp_path):
    for number in range(3000):
        (tmp_path / f"{number:04}.txt").write_bytes(b"")
    source = FolderFiles(tmp_path)
    blocks = source.blocks()
    first = next(blocks)
    (tmp_path / "2999.txt").unlink()
    rest = b"".join(blocks)
    assert (first + rest).count(b"\n") == 2999
    assert source.skipped == 1


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("mail to jörg.anna+x@sub.example.org.", "E-mail address"),
        ("host 192.168.0.17 up", "IP address"),
        ("IBAN DE89 3704 0044 0532 0130 00 please", "IBAN"),
        ("card 4111 1111 1111 1111!", "Credit card"),
        ('password = "hunter22"', "Secret"),  # pragma: allowlist secret
    ],
)
def test_each_annotator_finds_its_kind(text, name):
    (found,) = annotators_in(text.encode())
    assert found["name"] == name
    assert labels_for([found])


@pytest.mark.parametrize(
    "text", ["version 1.2.3.4.5", "999.1.1.1", "4111 1111 1111 1112", "0000000000000000", "a@b", ""]
)
def test_lookalikes_are_left_alone(text):
    assert annotators_in(text.encode()) == []


def test_phrases_are_capped_but_counted():
    (found,) = annotators_in(b"".join(b"user%d@example.org\n" % number for number in range(200)))
    assert (found["uniquePhrases"], len(found["annotations"])) == (200, 50)


def test_luhn():
    assert luhn("79927398713")
    assert not luhn("79927398710")
