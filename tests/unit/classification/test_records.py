"""Records and matching: files of the same name get their own labels, nothing is matched by a guess."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from service.classification.matching import is_settled, match, scan_id_of
from service.classification.records import Origin, Volume, deleted, ids_of, labelled, unlabelled
from service.classification.volume import VolumeFile

VOLUME = Volume("main", "legal", "contracts")
FILE = VolumeFile("a/report.pdf", 12, 1_700_000_000_000)
AT = "2026-11-22T00:00:00.000000Z"


def hit(name: str, scan: Any = 42, _id: str = "1", **source: Any) -> dict[str, Any]:
    return {"_id": _id, "_source": {"ds#file_name": name, "dxr#datasource_scan_id": scan, "dxr#tags": [], **source}}


def test_a_labelled_record_has_the_columns_of_the_contract() -> None:
    found = hit(
        "u.pdf",
        **{
            "dxr#tags": ["t1", 7],
            "ai#category": "contract",
            "annotation.9": ["a phrase"],
            "annotation_stats#count.9": "1",
            "annotation_stats#count.10": "0",
            "object_id": "o",
            "dxr#mime_type": "application/pdf",
            "dxr#sha_256_hash": "f" * 64,
            "unknown#field": {"kept": [1]},
        },
    )
    assert ids_of(found) == ["t1", "7", "9"]
    record = labelled(VOLUME, FILE, Origin("11", "j", 42), found, {"t1": "PII", "7": "Legal", "9": "IBAN"}, AT)
    assert record == {
        "file_path": "/Volumes/main/legal/contracts/a/report.pdf",
        "relative_path": "a/report.pdf",
        "file_name": "report.pdf",
        "catalog_name": "main",
        "schema_name": "legal",
        "volume_name": "contracts",
        "file_size": 12,
        "modification_time": 1_700_000_000_000,
        "datasource_id": "11",
        "datasource_scan_id": 42,
        "job_id": "j",
        "labels": ["PII", "Legal", "IBAN"],
        "tags": ["t1", "7"],
        "categories": ["contract"],
        "raw_metadata": record["raw_metadata"],
        "collected_at": AT,
        "object_id": "o",
        "mime_type": "application/pdf",
        "sha256": "f" * 64,
        "status": "LABELLED",
        "reason": None,
    }
    assert json.loads(record["raw_metadata"]) == found["_source"]


def test_other_records_say_why() -> None:
    assert (
        unlabelled(VOLUME, FILE, "TOO_LARGE", "12 bytes", AT).items()
        >= {"status": "TOO_LARGE", "reason": "12 bytes"}.items()
    )
    gone = deleted(VOLUME, "a/b", AT)
    assert (gone["status"], gone["deleted_at"], gone["file_path"]) == ("DELETED", AT, VOLUME.path_of("a/b"))


def test_hits_are_matched_by_the_upload_name_alone() -> None:
    hits = [
        hit("one.pdf", _id="1"),
        hit("two.pdf", _id="2"),
        hit("two.pdf", scan=41, _id="3", **{"dxr#indexed_date": "2099"}),
        hit("report.pdf", _id="4"),
        {"_id": "5", "_source": {"ds#file_path": "/odc/three.pdf"}},
        {"_id": "6"},
    ]
    found = match(hits, {"one.pdf", "two.pdf", "three.pdf"}, 42)
    assert {name: one["_id"] for name, one in found.items()} == {"one.pdf": "1", "two.pdf": "2", "three.pdf": "5"}
    assert not is_settled(found, {"one.pdf", "two.pdf", "three.pdf"})
    assert scan_id_of(hits) == 42


@given(st.permutations(range(6)))
def test_the_order_of_hits_decides_nothing(order: list[int]) -> None:
    hits = [hit("x.pdf", _id=str(number), **{"dxr#indexed_date": str(number // 2)}) for number in range(6)]
    assert match([hits[number] for number in order], {"x.pdf"}, 42)["x.pdf"]["_id"] == "5"


def test_settled_means_hits_and_tags() -> None:
    names = {"a", "b"}
    assert is_settled(match([hit("a"), hit("b", _id="2")], names, None), names)
    assert not is_settled(match([hit("a")], names, None), names)
    without_tags = {"_id": "2", "_source": {"ds#file_name": "b"}}
    assert not is_settled(match([hit("a"), without_tags], names, None), names)


NAMES = ("one.pdf", "two.pdf", "three.pdf")
SOURCES = st.fixed_dictionaries(
    {},
    optional={
        "ds#file_name": st.sampled_from([*NAMES, "report.pdf", "", "a/one.pdf"]) | st.none() | st.integers(),
        "ds#file_path": st.sampled_from(["/odc/two.pdf", "three.pdf", "/odc/report.pdf", ""]) | st.booleans(),
        "dxr#datasource_scan_id": st.sampled_from([42, "42", 41, "041", None, 42.5, [42]]),
        "dxr#indexed_date": st.sampled_from(["2026-01-01", "2026-01-02"]) | st.none() | st.integers(),
    },
)
HITS = st.lists(st.fixed_dictionaries({}, optional={"_source": SOURCES | st.none(), "_id": st.text() | st.integers()}))


@given(HITS, st.sampled_from([42, None]))
def test_no_hits_of_any_kind_are_matched_by_a_guess(hits: list[dict[str, Any]], scan_id: int | None) -> None:
    found = match(hits, set(NAMES), scan_id)
    assert set(found) <= set(NAMES)
    for name, one in found.items():
        source = one["_source"]
        said = source.get("ds#file_name") or source["ds#file_path"]
        assert said.rpartition("/")[2] == name
        assert scan_id is None or source.get("dxr#datasource_scan_id") not in (41, "041")
    assert match(list(reversed(hits)), set(NAMES), scan_id).keys() == found.keys()
    assert match([*found.values()], set(NAMES), scan_id) == found
    assert scan_id_of(hits) in {None, 41, 42}


TEXT = st.text(st.characters(exclude_categories=()), max_size=5)  # lone surrogates too
ONE = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
MANY = st.lists(ONE, max_size=3) | st.dictionaries(TEXT, ONE, max_size=2)
KEYS = st.sampled_from(["dxr#tags", "ai#category", "object_id", "dxr#file_id", "dxr#mime_type", "dxr#sha_256_hash"])
PREFIXES = st.sampled_from(["annotation.", "annotation_stats#count.", ""])
ANY_SOURCE = st.dictionaries(
    KEYS | st.builds(str.__add__, PREFIXES, TEXT), ONE | MANY | st.lists(MANY, max_size=2), max_size=5
)


@given(ANY_SOURCE)
def test_any_hit_makes_a_record_that_a_chunk_can_hold_and_loses_nothing(source: dict[str, Any]) -> None:
    found = {"_source": source}
    names = {one: one for one in ids_of(found)}
    record = labelled(VOLUME, FILE, Origin("11", "j", 42), found, names, AT)
    assert msgspec.json.decode(msgspec.json.encode(record)) == record
    assert json.loads(record["raw_metadata"]) == source
    tags = source.get("dxr#tags")
    served = tags if isinstance(tags, list) else [tags]
    assert len(record["tags"]) == sum(1 for one in served if one is not None)
    assert set(record["tags"]) <= set(record["labels"])
    for column in ("labels", "tags", "categories"):
        assert all(isinstance(one, str) for one in record[column])
    for column in ("object_id", "mime_type", "sha256"):
        assert isinstance(record[column], str | None)
