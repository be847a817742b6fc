"""Every line becomes a row or is quarantined byte for byte: what a row is, the contract says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pyarrow import parquet

from spark_jobs.errors import Unbalanced
from spark_jobs.schemas import SNAPSHOT
from spark_jobs.snapshots import write_snapshot
from tests.spark.landing_builder import DAY, reject, rows, run_id

ROWS = {
    "plain": b'{"fileId":"a","fileName":"n","path":"/p","size":5,"mimeType":"text/plain","labels":[{"x":1}]}',
    "empty": b"{}",
    "size as text": b'{"fileId":"b","size":"77"}',
    "size too large": b'{"fileId":"c","size":' + b"9" * 5000 + b"}",
    "infinite": b'{"fileId":"d","size":1e999,"labels":{"x":1e999}}',
    "size is a word": b'{"fileId":"e","size":"abc"}',
    "lone surrogate": b'{"fileId":"\\ud800","owner":{"\\udc00":"\\ud800"}}',
    "duplicate keys": b'{"fileId":"f","fileId":"g","labels":{"a":1,"a":2}}',
    "names differ by case": b'{"Size":1,"size":2,"FILEID":"x"}',
    "deep": b'{"fileId":"h","labels":' + b"[" * 499 + b"]" * 499 + b"}",
    "line separator": '{"fileId":"i\u2028\u2029\u0085"}'.encode(),
    "escaped nul": b'{"fileId":"j\\u0000","owner":"\\u0000"}',
    "carriage returns": b'{\r"fileId"\r:\r"k"\r}',
    "spaces": b' \t {"fileId":"l"} \t ',
    "long name": b'{"fileId":"m","' + b"k" * 60_000 + b'":1}',
    "long name with escapes": b'{"fileId":"n","labels":{"' + b'k\\n\\"' * 20_000 + b'":1}}',
    "long value": b'{"fileId":"' + b"x" * 25_000_000 + b'"}',
    "unknown field": b'{"fileId":"o","somethingNew":{"a":[1,2]}}',
    "nothing but unknown": b'{"zzz":null}',
    "bytes of four": '{"fileId":"\U0001f600"}'.encode(),
    "null": b'{"fileId":null,"labels":null,"size":null}',
}

NO_ROWS = [
    b"",
    b"   ",
    b"5",
    b"null",
    b'"a"',
    b"[]",
    b'[{"fileId":"a"}]',
    b'{"fileId":"a"} x',
    b'{"fileId":"a"} x}',
    b'{"fileId":"a"}{"fileId":"b"}',
    b'{"fileId":"a"},{"fileId":"b"}',
    b'{"fileId":"a"}] {}',
    b'{"fileId":"a"},{"n":1}] {}',
    b'{"fileId":"a"}\x00',
    b'{"fileId":"a"}\x0c',
    b'{"fileId":"a"}\xc2\xa0',
    b"{'fileId':'a'}",
    b'{"size":NaN}',
    b'{"size":-Infinity}',
    b'{"size":+1}',
    b'{"size":01}',
    b'{"size":1.}',
    b'{"other":tru}',
    b"{a:1}",
    b'{"a":1,}',
    b'{/* */"a":1}',
    b'{"fileId":"a\x01"}',
    b'{"fileId":"\\q"}',
    # Behind these errors Spark goes on reading, and would find a whole object.
    b'{"fileId":"\\q,"path":"p"}',
    b'{"fileId":"a\\u"}',
    b'{"fileId":"a\t,"path":"p"}',
    b'{"labels":[{"id":{"name":"x"}],"owner":null}',
    b'{"fileId":"\xff"}',
    b'{"fileId":"\xed\xa0\x80"}',
    b'{"fileId":"a"',
    b'{"fileId":"a","labels":{"a":1}',
    b'{"' + b"k" * 60_000 + b'":tru}',
    b'{"' + b"k" * 60_000 + b'":1} x',
    b"\x00\x01\x02\xfe\xff",
]


def test_every_row_of_the_contract_is_in_the_table_byte_for_byte(house):
    house.landing.commit(1, [list(ROWS.values())])
    house.ingest()
    assert house.landing.receipt(1) == {
        "format": 1,
        "run_id": run_id(1),
        "state": "ingested",
        "table": house.settings.snapshots.path,
        "table_version": 1,
        "table_rows": len(ROWS),
        "quarantined_rows": 0,
        "reason": None,
        "ingested_at": house.landing.receipt(1)["ingested_at"],
    }
    found = [bytes(row.raw) for row in house.table().selectExpr("CAST(raw_json AS BINARY) AS raw").collect()]
    assert sorted(found) == sorted(ROWS.values())


def test_typed_columns_hold_what_fits_and_null_otherwise(house):
    names = ["plain", "size as text", "size too large", "infinite", "size is a word", "names differ by case", "null"]
    house.landing.commit(1, [[ROWS[name] for name in names]])
    house.ingest()
    found = {row.raw_json.encode(): row for row in house.table().collect()}
    assert [found[ROWS[name]].size for name in names] == [5, 77, None, None, None, 2, None]
    plain = found[ROWS["plain"]]
    assert (plain.file_id, plain.file_name, plain.path, plain.mime_type) == ("a", "n", "/p", "text/plain")
    assert (plain.labels_json, plain._run_id, plain._sequence) == ('[{"x":1}]', run_id(1), 1)
    assert plain.ingestion_date.isoformat() == DAY
    assert plain._chunk == f"chunks/file_metadata/ingestion_date={DAY}/run_id={run_id(1)}/attempt=1/part-00000.jsonl.gz"


def test_json_columns_hold_json_whatever_the_field_was(house):
    values = [
        *(
            '"word"',
            '"[Draft]"',
            '"{x}"',
            '"\\u005bx]"',
            '"[\\"a]"',
            '"5"',
            "5",
            "-1.5e3",
            "true",
            "null",
            '""',
            '" {"',
        ),
        *('"{}"', "{}", "[]", '{"a":"[x]"}', '["{"]', '{"labels":"q"}', '"quo\\"te"', '"\\u0000"', '"nul"', '"1e"'),
        *("[1, 2.50]", '"12 "'),
    ]
    house.landing.commit(
        1, [[f'{{"fileId":"{index}","labels":{value}}}'.encode() for index, value in enumerate(values)]]
    )
    house.ingest()
    found = {int(row.file_id): row.labels_json for row in house.table().collect()}
    # A number in quotes may become the number: both are JSON, and raw_json tells them apart.
    unquoted = {'"5"': 5}
    for index, value in enumerate(values):
        text = found[index]
        expected = unquoted.get(value, json.loads(value))
        assert (text is None) if expected is None else (json.loads(text) == expected), value


def test_a_list_is_told_from_a_string_of_the_same_text_in_the_same_line(house):
    """With and without a backslash in the line, which decides how much of it is looked at."""
    values = '"labels":[],"owner":"[]","annotators" : "{}","categories":{}'
    house.landing.commit(1, [[f'{{"path":"{path}",{values}}}'.encode() for path in ("/p", "\\\\\\\\host\\\\p")]])
    house.ingest()
    found = {
        row.path: (row.labels_json, row.owner_json, row.annotators_json, row.categories_json)
        for row in house.table().collect()
    }
    assert found == dict.fromkeys(("/p", r"\\host\p"), ("[]", '"[]"', '"{}"', "{}"))


def test_lines_that_are_no_rows_are_quarantined_byte_for_byte_with_their_place(house):
    first, second = [*rows(2), *NO_ROWS, *rows(1)], [*rows(3), b"\xff", *rows(1)]
    damaged = b'{"line_number":13,"reason":"x","raw":"\\q}'
    rejects = [reject(7, b"\x00\xff"), reject(9, None, "too long"), b"{no record", reject(11, b""), damaged]
    commit = house.landing.commit(1, [first, rows(4), second], rejects=rejects)
    house.ingest()
    receipt = house.landing.receipt(1)
    assert (receipt["state"], receipt["table_rows"]) == ("ingested", 11)
    assert receipt["table_rows"] + receipt["quarantined_rows"] == commit["rows"] + commit["rejected_rows"]
    folder = f"chunks/file_metadata/ingestion_date={DAY}/run_id={run_id(1)}/attempt=1"
    found = house.table("dxr_quarantine").collect()
    assert {(row.dataset, row.run_id, row.ingestion_date.isoformat()) for row in found} == {
        ("file_metadata", run_id(1), DAY)
    }
    places = {(row.chunk, row.line_number): row.raw if row.raw is None else bytes(row.raw) for row in found}
    expected = {(f"{folder}/part-00000.jsonl.gz", 3 + index): line for index, line in enumerate(NO_ROWS)}
    expected[f"{folder}/part-00002.jsonl.gz", 4] = b"\xff"
    rejected = f"{folder}/rejects-00000.jsonl.gz"
    expected |= {(rejected, 7): b"\x00\xff", (rejected, 9): None, (rejected, None): b"{no record", (rejected, 11): b""}
    expected[rejected, 13] = damaged
    assert places == expected
    assert "too long" in {row.reason for row in found}


def test_lines_that_are_no_rows_are_found_in_a_commit_that_is_all_utf8(house):
    lines = [line for line in NO_ROWS if line.decode(errors="replace").encode() == line]
    assert 0 < len(lines) < len(NO_ROWS)
    house.landing.commit(1, [[*rows(2), *lines]])
    house.ingest()
    assert len(house.ids()) == 2
    assert {bytes(row.raw) for row in house.table("dxr_quarantine").collect()} == set(lines)


def test_columns_of_values_that_hardly_repeat_have_no_dictionary_even_if_they_do(house):
    fields = {column.field: 7 for column in SNAPSHOT.columns if column.field}
    house.landing.commit(1, [[json.dumps(fields).encode()] * 100])
    house.ingest()
    (file,) = Path(house.path("file_metadata")).glob("ingestion_date=*/*.parquet")
    group = parquet.ParquetFile(file).metadata.row_group(0)
    columns = [group.column(place) for place in range(group.num_columns)]
    plain = {column.path_in_schema for column in columns if not column.has_dictionary_page}
    assert plain == {column.name for column in SNAPSHOT.columns if column.distinct}


def test_rows_that_do_not_add_up_get_no_receipt(house, monkeypatch):
    def miscounted(*arguments, **named):
        written = write_snapshot(*arguments, **named)
        return replace(written, rows=written.rows - 1)

    monkeypatch.setattr("spark_jobs.days.write_snapshot", miscounted)
    house.landing.commit(1, [rows(3)])
    with pytest.raises(Unbalanced, match="has no receipt"):
        house.ingest()
    assert house.landing.receipt(1) is None


def test_several_gzip_members_are_one_chunk(house):
    house.landing.commit(1, [rows(10)], members=3)
    house.ingest()
    assert len(house.ids()) == 10
