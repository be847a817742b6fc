"""What the service takes for a row, the job places, and nothing else; any other line it keeps, with its place."""

from __future__ import annotations

import hashlib
import json
import random
from typing import TYPE_CHECKING

from service.snapshot.rows import flaw_of
from spark_jobs.schemas import SNAPSHOT

if TYPE_CHECKING:
    from tests.spark.conftest import House

SEED = 20261122
LINES = 3000
# What lines are made of: tokens of JSON, what looks like them, and what breaks parsers.
ATOMS = [
    *(b'{"fileId":"a"', b'{"', b"{", b"}", b"[", b"]", b'"', b":", b",", b'":', b'"a":', b'"size":', b'"labels":'),
    *(b"1", b"-", b"+", b"0", b".", b"e", b"E9", b"1e999", b"01", b"-0", b"9" * 40, b"NaN", b"Infinity", b"-Infinity"),
    *(b"true", b"false", b"null", b"nul", b"True", b"'", b"'a'", b"//", b"/* */", b"#", b";"),
    *(b"\\", b"\\\\", b'\\"', b"\\u", b"\\ud800", b"\\udc00", b"\\ud83d\\ude00", b"\\u0000", b"\\x", b"\\n", b"\\/"),
    *(b" ", b"\t", b"\r", b"\x00", b"\x01", b"\x0b", b"\x0c", b"\x1e", b"\x1f", b"\x7f", b"\xc2\xa0", b"\xe2\x80\xa8"),
    *(b"\xef\xbb\xbf", b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf0\x9f\x98\x80", b"\xc0\x80"),
]
WHOLE = [
    b'{"fileId":"a","size":12,"labels":[{"id":1,"name":"x"}],"owner":null}',
    b'{"a":{"b":[1,2,{"c":"\\ud800"}]},"fileId":"b","fileId":"c"}',
    b'{"fileId":"\xf0\x9f\x98\x80","x":[true,false,null,-1.5e-7,""]}',
    b"{}",
]
VALUES = [
    *("null", "true", "0", "-1.5e3", "1e999", "9" * 400, '""', '"text"', '"5"', '"[x]"', '"{x}"', '"\\ud800"'),
    *('"\\u0000"', "[]", "[null]", "[[]]", '[{"id":1}]', '["a",1,{}]', "{}", '{"id":null}', '{"a":{"a":{"a":[]}}}'),
    '" {\\"a\\":1} "',
]


def fuzzed() -> list[bytes]:
    """Lines around the border between rows and others: atoms in a row, and whole rows with an atom too many or few."""
    draw = random.Random(SEED)
    lines = set[bytes]()
    while len(lines) < LINES:
        if draw.random() < 0.2:
            line = b"".join(draw.choices(ATOMS, k=draw.randint(1, 12)))
        else:
            line = draw.choice(WHOLE)
            for _ in range(draw.randint(1, 2)):
                start = draw.randrange(len(line) + 1)
                line = line[:start] + draw.choice([b"", *ATOMS]) + line[start + draw.choice([0, 0, 1, 2]) :]
        lines.add(line.replace(b"\n", b""))
    return sorted(lines)


def stored(house: House) -> list[bytes]:
    return [bytes(row["raw"]) for row in house.table().selectExpr("CAST(raw_json AS BINARY) AS raw").collect()]


def verdict(house: House) -> tuple[str, int, int]:
    receipt = house.landing.receipt(1)
    assert receipt is not None
    return receipt["state"], receipt["table_rows"], receipt["quarantined_rows"]


def test_every_line_that_the_service_takes_for_a_row_is_placed_and_every_other_one_is_kept(house: House) -> None:
    lines = fuzzed()
    rows = {line for line in lines if flaw_of(line) is None}
    assert LINES // 20 < len(rows) < LINES // 2
    commit = house.landing.commit(1, [lines])
    house.ingest()
    assert sorted(stored(house)) == sorted(rows)
    assert verdict(house) == ("ingested", len(rows), len(lines) - len(rows))
    chunk = commit["chunks"][0]["path"]
    others = {(chunk, place): line for place, line in enumerate(lines, 1) if line not in rows}
    found = house.table("dxr_quarantine").collect()
    assert {(row["chunk"], row["line_number"]): bytes(row["raw"]) for row in found} == others


def test_no_field_of_any_type_costs_a_row(house: House) -> None:
    fields = [column.field for column in SNAPSHOT.columns if column.field]
    lines = [f'{{"{field}":{value},"n":{place}}}'.encode() for field in fields for place, value in enumerate(VALUES)]
    lines += [f'{{"{field.upper()}":1,"{field.lower()}":{{}},"n":[1]}}'.encode() for field in fields]
    lines += [f'{{"{field}":"first","{field}":[2]}}'.encode() for field in fields]
    lines += lines[:3]  # the same row twice is two rows
    assert all(flaw_of(line) is None for line in lines)
    house.landing.commit(1, [lines])
    house.ingest()
    assert verdict(house) == ("ingested", len(lines), 0)
    assert sorted(stored(house)) == sorted(lines)


def test_null_where_an_object_was_and_text_where_a_number_was_leave_the_other_columns_alone(house: House) -> None:
    lines = [
        b'{"fileId":"a","owner":null,"size":"many","labels":{"not":"a list"},"path":"/p"}',
        b'{"fileId":"b","owner":"nobody","size":[1],"labels":null,"path":"/p","new":{"field":1}}',
    ]
    house.landing.commit(1, [lines])
    house.ingest()
    first, second = house.table().orderBy("file_id").collect()
    assert (first.file_id, first.owner_json, first.size, first.path) == ("a", None, None, "/p")
    assert json.loads(first.labels_json) == {"not": "a list"}
    assert (second.file_id, json.loads(second.owner_json), second.size, second.labels_json) == (
        "b",
        "nobody",
        None,
        None,
    )
    assert json.loads(second.raw_json)["new"] == {"field": 1}


def test_row_of_64_mib_is_placed(house: House) -> None:
    row = b'{"fileId":"' + b"x" * (64 * 2**20 - 13) + b'"}'
    assert (len(row), flaw_of(row)) == (64 * 2**20, None)
    house.landing.commit(1, [[b"{}", row, b'{"fileId":"z"}']])
    house.ingest()
    assert verdict(house) == ("ingested", 3, 0)
    hashes = {line["hash"] for line in house.table().selectExpr("sha2(raw_json, 256) AS hash").collect()}
    assert hashlib.sha256(row).hexdigest() in hashes
