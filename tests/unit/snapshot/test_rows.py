"""What a row is, against Python's own JSON parser, and the cap."""

from __future__ import annotations

import base64
import hashlib
import json
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import UpstreamError
from service.snapshot import rows
from service.snapshot.lines import LongLine
from service.snapshot.rows import (
    DEPTH_MAX,
    Reject,
    Rows,
    RowSorter,
    _depth,
    _is_closed,
    _is_shallow,
    _is_utf8,
    _without_surrogates,
    flaw_of,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)


def refuse(constant: str) -> None:
    raise ValueError(constant)


def is_row(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line.decode(), parse_constant=refuse), dict)
    except ValueError:
        return False


@given(st.dictionaries(st.text(), JSON), st.booleans())
def test_every_object_that_is_json_is_a_row(value: dict[str, object], ascii_only: bool) -> None:
    line = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert (flaw_of(line) is None) == is_row(line)


@given(st.binary(max_size=40))
def test_no_bytes_are_a_row_that_json_is_not(line: bytes) -> None:
    assert (flaw_of(line) is None) == is_row(line)


@given(st.dictionaries(st.text(), JSON).map(lambda value: json.dumps(value).encode()), st.data())
def test_a_torn_row_is_none(line: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(min_value=0, max_value=len(line) - 1))
    assert flaw_of(line[:cut]) is not None


def depth_of(value: object) -> int:
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


TRICKY = st.text(st.sampled_from('[]{}"\\:, x\ud800\x00'))
DEEP = st.recursive(
    st.none() | st.integers() | TRICKY, lambda inner: st.lists(inner) | st.dictionaries(TRICKY, inner), max_leaves=40
)


@given(DEEP, st.booleans(), st.sampled_from([1, 2, 3, 5, 1 << 16]))
def test_depth_is_that_of_the_value(value: object, indented: bool, piece_bytes: int) -> None:
    """Also where a piece would end inside an escape."""
    line = json.dumps(value, indent=1 if indented else None).encode()
    with mock.patch.object(rows, "_PIECE_BYTES", piece_bytes):
        assert _depth(line) == depth_of(value)
        assert _is_shallow(_without_surrogates(line))


@pytest.mark.parametrize("depth", [7, 60, 499, 500, 501, 900, 20_000])
@pytest.mark.parametrize("around", [0, 40_000], ids="{} values around it".format)
def test_wide_rows_are_shallow_and_deep_ones_are_not(depth: int, around: int) -> None:
    """Also where the brackets are looked at in several pieces."""
    some = b'{"a]":[1,{}]},' * around
    line = b'{"x":[' + some + b"[" * (depth - 2) + b"]" * (depth - 2) + b"," + some + b"1]}"
    assert _depth(line) == depth or depth > DEPTH_MAX
    assert _is_shallow(line) == (depth <= DEPTH_MAX)


@pytest.mark.parametrize("frames", [0, 1, 100, 400, 700])
def test_no_deep_row_is_shallow_however_deep_the_calls_are(frames: int) -> None:
    if frames:
        test_no_deep_row_is_shallow_however_deep_the_calls_are(frames - 1)
    else:
        assert not _is_shallow(b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1))


@given(st.lists(DEEP), st.text(st.sampled_from('[]{}",x ')))
def test_an_array_is_closed_where_it_ends(value: list[object], behind: str) -> None:
    line = json.dumps(value).encode()
    assert _is_closed(line + behind.encode())
    assert not any(_is_closed(line[:cut]) for cut in range(1, len(line)))


@given(st.binary(max_size=200_000), st.integers(0, 200_000))
def test_utf8_is_judged_alike_however_long_the_line_is(noise: bytes, place: int) -> None:
    for line in (noise, b"x" * place + noise, ("\u00e4\U0001f600" * 20_000)[: place // 4].encode() + noise):
        try:
            line.decode()
            whole = True
        except UnicodeDecodeError:
            whole = False
        assert _is_utf8(line) == whole


@pytest.mark.parametrize("padding", [b"", b'"[{",'])
def test_depth_is_counted_exactly(padding: bytes) -> None:
    def nested(depth: int) -> bytes:
        return b'{"x":' + (b"[" + padding) * (depth - 1) + b"1" + b"]" * (depth - 1) + b"}"

    assert flaw_of(nested(DEPTH_MAX)) is None
    assert flaw_of(nested(DEPTH_MAX + 1)) == "TOO_DEEP"


def test_a_line_of_unfinished_strings_is_judged_in_linear_time() -> None:
    assert flaw_of(b'{"a":"' + b'\\"' * 500_000) == "NOT_JSON"
    assert flaw_of(b'{"a":"\\ud800' + b"\\\\" * 500_000) == "NOT_JSON"


def test_rejects_carry_the_line_without_its_newline() -> None:
    sorter = RowSorter(row_bytes_max=10)
    out = sorter.feed([b"{}\nbad\r\n", LongLine(99, "f" * 64), b"x" * 11 + b"\n"])
    assert out.rejects == [
        Reject(2, "NOT_JSON", 4, hashlib.sha256(b"bad\r").hexdigest(), base64.b64encode(b"bad\r").decode()),
        Reject(3, "TOO_LONG", 99, "f" * 64, None),
        Reject(4, "TOO_LONG", 11, hashlib.sha256(b"x" * 11).hexdigest(), None),
    ]


def test_the_cap_stops_at_its_row() -> None:
    sorter = RowSorter(row_bytes_max=100, record_cap=2)
    out = sorter.feed([b"{}\nbad\n\n{}\nbad\n{}\n"])
    assert (out.rows, len(out.rejects), sorter.counts.blank_lines, sorter.counts.served_lines) == (
        [Rows(b"{}\n{}\n", 2)],
        *(1, 1, 4),
    )
    assert sorter.capped
    assert sorter.feed([b"{}\n"]).rows == []


def test_the_message_tells_the_kind_and_never_the_text() -> None:
    with pytest.raises(UpstreamError) as caught:
        RowSorter(row_bytes_max=100).feed([b"<html>secret</html>\n"])
    assert "HTML" in caught.value.message
    assert "secret" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    ("first", "last", "fails"),
    [(b"<", b">", True), (b"[", b",", True), (b"[", b"]", False), (b"{", b"}", False), (b"", b"", False)],
)
def test_a_first_line_beyond_the_limit_is_judged_by_its_ends(first: bytes, last: bytes, fails: bool) -> None:
    line = LongLine(999, "f" * 64, first, last)
    sorter = RowSorter(row_bytes_max=100)
    sorter.feed([b"\n \t\n"])
    if fails:
        with pytest.raises(UpstreamError):
            sorter.feed([line])
    else:
        assert sorter.feed([line]).rejects == [Reject(3, "TOO_LONG", 999, "f" * 64, None)]
    after_a_row = RowSorter(row_bytes_max=100)
    after_a_row.feed([b"{}\n", line])
    assert after_a_row.counts.rejected_rows == 1


@pytest.mark.parametrize(
    ("lines", "tail", "code"),
    [
        ([], b'{"fileId":"a', "STREAM_CUT"),
        ([b"{}"], b'{"fileId":"a', "STREAM_CUT"),
        ([b"{}"], b"nothing", "STREAM_CUT"),
        ([b"{}"], b" ", "STREAM_CUT"),
        ([], b" ", "STREAM_CUT"),
        ([], b"Unauthorized", "NOT_NDJSON"),
        ([], b"[{}]", "NOT_NDJSON"),
        ([b"nothing"], b"", "NOT_NDJSON"),
        ([b"nothing"], b"more", "NOT_NDJSON"),
        ([], LongLine(999, "f" * 64, b"{", b"x"), "STREAM_CUT"),
        ([], LongLine(999, "f" * 64, b"x", b"x"), "NOT_NDJSON"),
    ],
)
def test_a_cut_row_is_told_from_what_is_no_row_at_all(lines: list[bytes], tail: bytes | LongLine, code: str) -> None:
    sorter = RowSorter(row_bytes_max=100)
    sorter.feed([line + b"\n" for line in lines])
    with pytest.raises(UpstreamError) as caught:
        sorter.finish(tail)
    assert caught.value.code == code
