"""A day of a table is what its newest good commit says, in whatever order, and however often, commits arrive."""

from __future__ import annotations

import gzip
import hashlib
import json
from itertools import permutations

import pytest

from tests.spark.landing_builder import reject, rows, run_id


def test_every_order_of_arrival_gives_the_same_day(house):
    """All orders of three commits, two of them of an equal sequence, each order on a day of its own."""
    orders = list(permutations([1, 2, 3]))
    for turn in range(3):
        for number, order in enumerate(orders):
            run = number * 10 + order[turn]
            # 2 and 3 have the same sequence: the higher run id is the newer.
            house.landing.commit(
                run, [rows(2, f"r{order[turn]}")], day=f"2026-03-0{number + 1}", sequence=min(order[turn], 2)
            )
        house.ingest()
    for number, order in enumerate(orders):
        assert house.ids(f"2026-03-0{number + 1}") == ["r3-0", "r3-1"], order
        assert house.landing.receipt(number * 10 + 3)["state"] == "ingested"


def test_in_one_batch_the_newest_is_written_and_the_others_are_superseded(house):
    for number in (2, 3, 1):
        house.landing.commit(number, [rows(2, f"r{number}")], rejects=[reject(1, b"x")])
    house.ingest()
    assert house.landing.states(1, 2, 3) == ["superseded", "superseded", "ingested"]
    assert house.ids() == ["r3-0", "r3-1"]
    assert house.versions() == 2
    superseded = house.landing.receipt(1)
    assert (superseded["table_rows"], superseded["quarantined_rows"], superseded["table_version"]) == (0, 0, None)
    assert {row.run_id for row in house.table("dxr_quarantine").collect()} == {run_id(3)}
    log = {row.run_id: row for row in house.table("dxr_ingest_log").collect()}
    assert {run: row.state for run, row in log.items()} == {
        run_id(1): "superseded",
        run_id(2): "superseded",
        run_id(3): "ingested",
    }
    good = log[run_id(3)]
    assert (good.rows, good.rejected_rows, good.table_rows, good.quarantined_rows, good.table_version) == (
        2,
        1,
        2,
        1,
        1,
    )
    assert good.commit_path == f"commits/file_metadata.{3:020d}.{run_id(3)}.json"
    assert good.started_at <= good.ended_at


def test_the_same_commit_twice_changes_nothing_and_its_first_verdict_stands(house):
    path = house.landing.publish(house.landing.document(1, [rows(3)], rejects=[reject(1, b"x")]))
    house.ingest({path.name})
    receipt, versions = house.landing.receipt(1), house.versions()
    house.ingest({path.name})
    # Without receipts the table's own history answers.
    (house.landing.root / "receipts" / f"{run_id(1)}.json").unlink()
    house.ingest({path.name})
    again = house.landing.receipt(1)
    assert again | {"ingested_at": ""} == receipt | {"ingested_at": ""}
    assert house.versions() == versions
    assert house.table("dxr_ingest_log").count() == house.table("dxr_quarantine").count() == 1


def test_chunks_that_were_cleaned_away_after_their_receipt_are_not_missed(house):
    document = house.landing.commit(1, [rows(3)])
    house.ingest()
    (house.landing.root / document["chunks"][0]["path"]).unlink()
    house.ingest({f"file_metadata.{1:020d}.{run_id(1)}.json"})
    assert house.landing.states(1) == ["ingested"]
    assert len(house.ids()) == 3


def test_a_proven_empty_day_empties_the_day_and_only_it(house):
    house.landing.commit(1, [rows(3)])
    house.landing.commit(2, [rows(2, "other")], day="2026-02-01")
    house.ingest()
    house.landing.commit(3, [])
    house.ingest()
    assert house.ids() == []
    assert house.ids("2026-02-01") == ["other-0", "other-1"]
    assert house.landing.receipt(3)["table_rows"] == 0
    house.landing.commit(4, [rows(1, "late")], sequence=2)
    house.ingest()
    assert house.landing.states(4) == ["superseded"]
    assert house.ids() == []


def cut(path, document):
    path.write_bytes(path.read_bytes()[:-9])


def flip(path, document):
    stored = bytearray(path.read_bytes())
    stored[len(stored) // 2] ^= 1
    path.write_bytes(bytes(stored))


def described(path, document, stored: bytes):
    path.write_bytes(stored)
    document["chunks"][0] |= {"stored_bytes": len(stored), "sha256": hashlib.sha256(stored).hexdigest()}


def miscount(path, document):
    document["chunks"][0]["rows"] += 1
    document["rows"] += 1


DAMAGES = {
    "CHUNK_MISSING": lambda path, document: path.unlink(),
    "CHUNK_CUT": cut,
    "CHUNK_ALTERED": flip,
    "CHUNK_DAMAGED": lambda path, document: described(path, document, path.read_bytes()[:-9]),
    "CHUNK_DAMAGED: chunks": lambda path, document: described(path, document, b""),
    "CHUNK_MISCOUNTED": miscount,
    "raw bytes": lambda path, document: described(path, document, gzip.compress(b"{}\n" * 5)),
    "COMMIT_INVALID": lambda path, document: document.update(rows=1),
}


def test_damaged_runs_change_nothing_and_the_next_older_one_is_used(house):
    """All damages in one batch, each newer than the good run."""
    house.landing.commit(1, [rows(5, "good")])
    for number, damage in enumerate(DAMAGES.values(), start=2):
        document = house.landing.document(number, [rows(5, "bad")], rejects=[reject(1, b"x")])
        damage(house.landing.root / document["chunks"][0]["path"], document)
        house.landing.publish(document)
    house.ingest()
    assert house.ids() == [f"good-{index}" for index in range(5)]
    assert house.landing.states(1) == ["ingested"]
    for number, reason in enumerate(DAMAGES, start=2):
        receipt = house.landing.receipt(number)
        assert (receipt["state"], receipt["table_version"]) == ("refused", None)
        assert reason in receipt["reason"]
        assert "part-00000.jsonl.gz" in receipt["reason"] or reason == "COMMIT_INVALID"
    assert house.versions() == 2


def test_a_damaged_rejects_file_refuses_the_run(house):
    document = house.landing.commit(1, [rows(2)], rejects=[reject(1, b"x")])
    (house.landing.root / document["rejects"][0]["path"]).unlink()
    house.ingest()
    assert "rejects-00000" in house.landing.receipt(1)["reason"]


def test_unusable_commit_files_get_receipts_under_the_run_of_their_name(house):
    good = house.landing.commit(9, [rows(1)])
    for number, content in enumerate([b"", b'{"format": 1', b"[]", b"\xff"], start=1):
        house.landing.publish(house.landing.document(number, []), content)
    house.landing.publish(good | {"sequence": 1}, b"")  # an empty file that claims the run of the good one
    (house.landing.root / "commits" / "notes.json").write_text("{}")
    (house.landing.root / "commits" / ".torn.json.tmp").write_text("{")
    house.ingest({"notes.json"})
    assert house.landing.states(1, 2, 3, 4, 9) == ["refused"] * 4 + ["ingested"]
    assert {row.state for row in house.table("dxr_ingest_log").collect()} == {"refused", "ingested"}
    assert sorted(path.name for path in (house.landing.root / "receipts").iterdir()) == sorted(
        f"{run_id(number)}.json" for number in (1, 2, 3, 4, 9)
    )


def test_a_capped_run_never_replaces_a_full_one(house):
    house.landing.commit(1, [rows(3, "full")])
    house.landing.commit(2, [rows(1, "capped")], record_cap=1)  # same batch, newer
    house.landing.commit(3, [rows(1, "capped")], record_cap=1, day="2026-02-01")  # no full one on that day
    broken = house.landing.document(4, [rows(3, "full")], day="2026-02-02")
    house.landing.publish(broken | {"rows": 2})
    document = house.landing.commit(5, [rows(3, "full")], day="2026-02-02")
    (house.landing.root / document["chunks"][0]["path"]).unlink()
    house.landing.commit(6, [rows(1, "capped")], record_cap=1, day="2026-02-02")  # the full ones are refused
    house.ingest()
    assert house.landing.states(1, 2, 3, 4, 5, 6) == [
        "ingested",
        "refused",
        "ingested",
        "refused",
        "refused",
        "ingested",
    ]
    assert "CAPPED_OVER_FULL" in house.landing.receipt(2)["reason"]
    house.landing.commit(7, [rows(1, "capped")], record_cap=1)  # a later batch
    house.landing.commit(8, [rows(2, "full")], day="2026-02-01")  # a full one replaces a capped one
    house.ingest()
    assert house.landing.states(7, 8) == ["refused", "ingested"]
    assert house.ids() == ["full-0", "full-1", "full-2"]
    assert house.ids("2026-02-01") == ["full-0", "full-1"]
    assert house.ids("2026-02-02") == ["capped-0"]


def test_kinds_and_datasets_have_tables_of_their_own(house):
    house.landing.commit(1, [rows(1)], dataset="dxr_metadata")
    house.landing.commit(2, [rows(1)], kind="classification")
    house.landing.commit(3, [rows(1)], dataset="dxr_quarantine")
    house.landing.commit(4, [rows(1)], dataset="dxr_ingest_log")
    house.landing.commit(5, [rows(1)], kind="other")
    house.landing.commit(6, [rows(1, "own")], dataset="contracts")
    house.landing.publish(
        house.landing.document(7, [], dataset="dxr_metadata", kind="classification", ingestion_date=None)
    )
    house.ingest()
    assert house.landing.states(1, 2, 3, 4, 5, 6) == ["refused"] * 5 + ["ingested"]
    assert [house.landing.receipt(number)["reason"].split(":")[0] for number in (1, 2, 3, 4, 5)] == [
        "KIND_MISMATCH",
        "KIND_MISMATCH",
        "DATASET_RESERVED",
        "DATASET_RESERVED",
        "KIND_MISMATCH",
    ]
    assert house.landing.receipt(6)["table"] == house.path("contracts")
    assert house.ids(table="contracts") == ["own-0"]
    # A classification needs no day.
    assert (house.landing.receipt(7)["state"], house.landing.receipt(7)["table"]) == (
        "ingested",
        house.path("dxr_metadata"),
    )


def test_a_dataset_cannot_take_the_table_of_another(house):
    other = house.with_settings(snapshot_dataset="renamed")
    house.landing.commit(1, [rows(1)], dataset="file_metadata")
    other.ingest()
    assert "DATASET_RESERVED" in house.landing.receipt(1)["reason"]


@pytest.mark.parametrize("empty", [b"", b'{"format"'])
def test_a_torn_receipt_is_no_verdict(house, empty):
    house.landing.commit(1, [rows(1)])
    (house.landing.root / "receipts" / f"{run_id(1)}.json").write_bytes(empty)
    house.ingest({f"file_metadata.{1:020d}.{run_id(1)}.json"})
    assert house.landing.states(1) == ["ingested"]


def test_receipts_are_plain_json(house):
    house.landing.commit(1, [rows(1)])
    house.ingest()
    content = (house.landing.root / "receipts" / f"{run_id(1)}.json").read_bytes()
    assert list(json.loads(content)) == [
        "format",
        "run_id",
        "state",
        "table",
        "ingested_at",
        "table_version",
        "table_rows",
        "quarantined_rows",
        "reason",
    ]
