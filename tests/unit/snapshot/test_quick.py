"""What the quick check vouches for is a row by the one definition, and nearly every row is vouched for."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.snapshot.quick import QuickCheck
from service.snapshot.rows import DEPTH_MAX, RowSorter, flaw_of
from tests.simulators.dxr import GeneratedFiles

ROW_BYTES_MAX = 1 << 20
ATOMS = [
    *(b"{", b"}", b"[", b"]", b'"', b":", b",", b'{"a":', b'"a"', b"{}", b"[]", b'"\\ud800"', b'"\\ud83d\\ude00"'),
    *(b"1", b"-", b"01", b"1e5", b"1e999", b"9" * 25, b".5", b"NaN", b"Infinity", b"true", b"null", b"nul", b"'a'"),
    *(b" ", b"\t", b"\r", b"\x00", b"\x0b", b"\x0c", b"\x1f", b"\x7f", b"\xc2\xa0", b"\xe2\x80\xa8", b"\xef\xbb\xbf"),
    *(b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf0\x9f\x98\x80", b"\xc0\x80", b"\\", b"//"),
]


def is_sound(line: bytes) -> bool:
    return not QuickCheck(ROW_BYTES_MAX, DEPTH_MAX).vouches_for(line) or flaw_of(line) is None


@given(st.lists(st.sampled_from(ATOMS)).map(b"".join))
def test_pieces_of_json_in_any_order(line: bytes) -> None:
    assert is_sound(line)
    assert is_sound(b'{"a":' + line + b"}")


@given(st.dictionaries(st.text(), st.text() | st.floats() | st.integers()), st.data())
def test_a_row_that_was_tampered_with(value: dict[str, object], data: st.DataObject) -> None:
    line = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    start = data.draw(st.integers(0, len(line)))
    stop = data.draw(st.integers(start, min(len(line), start + 3)))
    assert is_sound(line[:start] + data.draw(st.sampled_from([b"", *ATOMS])) + line[stop:])


@pytest.mark.parametrize("length", range(1, 140))
def test_flaws_at_every_place_of_a_line_of_any_length(length: int) -> None:
    for flaw in (b"\xff", b"\x00", b"\xed\xa0\x80", b'"', b"\\"):
        for place in range(0, length, 7):
            assert is_sound(b'{"a":"' + b"x" * place + flaw + b"y" * (length - place) + b'"}')


@pytest.mark.parametrize(
    "line",
    [
        b'\xef\xbb\xbf{"a":1}',
        b' {"a":1}',
        b'{"a":1}\r',
        b'{"a":1} ',
        b'{"a":1}{"a":1}',
        b"[1]",
        b"5",
        b"",
        b'{"a":"' + b"x" * ROW_BYTES_MAX + b'"}',
    ],
    ids=lambda line: repr(line[:16]),
)
def test_what_is_not_a_row_as_it_stands_is_not_vouched_for(line: bytes) -> None:
    assert not QuickCheck(ROW_BYTES_MAX, DEPTH_MAX).vouches_for(line)


def test_deep_rows_are_left_to_the_careful_one() -> None:
    check = QuickCheck(ROW_BYTES_MAX, DEPTH_MAX)
    for depth in (DEPTH_MAX - 1, DEPTH_MAX, DEPTH_MAX + 1, 900, 2000, 100_000):
        row = b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"
        assert check.vouches_for(row) == (depth <= DEPTH_MAX) == (flaw_of(row) is None)
        assert check.vouches_for(b'{"a":1}'), "after a refusal it goes on"


def test_a_row_above_the_limit_of_the_setting_is_rejected_however_sound_it_is() -> None:
    out = RowSorter(row_bytes_max=10).feed([b'{"a":1234}', b'{"a":12345}'])
    assert out.rows == [b'{"a":1234}']
    assert [reject.reason for reject in out.rejects] == ["TOO_LONG"]


def test_rows_of_a_tenant_are_vouched_for() -> None:
    check = QuickCheck(ROW_BYTES_MAX, DEPTH_MAX)
    rows = b"".join(GeneratedFiles(500, seed=5).blocks()).splitlines()
    assert sum(map(check.vouches_for, rows)) > 0.99 * len(rows)
