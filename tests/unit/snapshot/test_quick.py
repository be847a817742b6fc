"""What the quick check vouches for is a row by the one definition, and nearly every row is vouched for."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.snapshot.quick import QuickCheck, Rows
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
    out = RowSorter(row_bytes_max=10).feed([b'{"a":1234}\n{"a":12345}\n'])
    assert out.rows == [Rows(b'{"a":1234}\n', 1)]
    assert [reject.reason for reject in out.rejects] == ["TOO_LONG"]


def test_rows_of_a_tenant_are_vouched_for() -> None:
    check = QuickCheck(ROW_BYTES_MAX, DEPTH_MAX)
    body = b"".join(GeneratedFiles(100, seed=5).blocks())
    assert all(map(check.vouches_for, body.splitlines()))
    assert check.rows_in(body) == 100


SPARE = b'"padding of the lines, so that the name of a member is shorter than they are"'
FRAGMENTS = [
    *(
        b'{"a":{}',
        b'{"a":[{}',
        b"{},{}",
        b"{}",
        b"{}]",
        b"{}}",
        b"{}]}",
        b'{},"b":{}',
        b"{}],[{}",
        b'{"a":[[{}',
        b"{}]]}",
    ),
    *(b'{"a":"{', b'}"}', b'{"a":1}', b'{"a":' + b"9" * 25 + b"}", b'{"a":"\\', b'{"a":1}{"a":1}', b'{"a":NaN}', b""),
    *(b" {}", b"{} ", b"{}\r", b"[{}]", b"5", b'{"a":"\xff"}', b'{"a":"\\ud800"}', b"{" + SPARE + b":" + SPARE + b"}"),
    b'{"a":' + b"[" * DEPTH_MAX + b"]" * DEPTH_MAX + b"}",
]


@given(st.lists(st.lists(st.sampled_from([*FRAGMENTS, *ATOMS]), max_size=3).map(b"".join), max_size=6), st.booleans())
def test_lines_are_vouched_for_together_only_when_each_is_a_row(lines: list[bytes], padded: bool) -> None:
    if padded:  # so that no line is too short
        lines = [line.replace(b"{}", b"{" + SPARE + b":{}}") for line in lines]
    stretch = b"".join(line + b"\n" for line in lines)
    if count := QuickCheck(ROW_BYTES_MAX, DEPTH_MAX).rows_in(stretch):
        assert count == len(lines)
        assert all(flaw_of(line) is None for line in lines)


LONG = b'{"a":"' + b"x" * 100 + b'"}'


@pytest.mark.parametrize(
    "lines",
    [
        [b'{"b":' + LONG, LONG + b"}", LONG + b',"c":' + LONG],
        [LONG + b',"c":' + LONG, b'{"b":' + LONG, LONG + b"}"],
        [b'{"b":[' + LONG, LONG + b"]}", LONG + b"," + LONG],
        [b'{"b":{"c":' + LONG, LONG + b"}}"],
        [LONG + b',"c":' + LONG],
        [LONG + b"," + LONG],
        [LONG + LONG],
    ],
    ids=["member", "member after", "element", "deeper", "one line more", "two values", "side by side"],
)
def test_no_line_reaches_into_the_next(lines: list[bytes]) -> None:
    """They begin and end like rows and are as many values as lines, but not each of them is one."""
    for all_lines in (lines, [LONG, *lines, LONG]):
        assert QuickCheck(ROW_BYTES_MAX, DEPTH_MAX).rows_in(b"\n".join([*all_lines, b""])) == 0


@pytest.mark.parametrize("odd", [b"", b" ", b"5", b"[1]", b" {}", b"{} ", b"{}\r", b"\t{}", b"null", b'"a"'], ids=repr)
def test_one_odd_line_among_many_is_left_to_the_careful_one(odd: bytes) -> None:
    check = QuickCheck(ROW_BYTES_MAX, DEPTH_MAX)
    for lines in ([odd, LONG], [LONG, odd, LONG], [LONG, odd]):
        assert check.rows_in(b"\n".join([*lines, b""])) == 0


def test_many_lines_that_may_hold_one_above_the_limit_are_left_to_the_careful_one() -> None:
    assert QuickCheck(2 * len(LONG) + 2, DEPTH_MAX).rows_in(LONG + b"\n" + LONG + b"\n") == 2
    assert QuickCheck(2 * len(LONG) + 1, DEPTH_MAX).rows_in(LONG + b"\n" + LONG + b"\n") == 0


@pytest.mark.parametrize("depth", [2, DEPTH_MAX - 1, DEPTH_MAX, DEPTH_MAX + 1, 1000, 1100, 100_000])
@pytest.mark.parametrize("inner", [b"", b"0", b"{}"], ids=repr)
def test_depth_is_proven_for_many_lines_as_for_one(depth: int, inner: bytes) -> None:
    deep = b'{"a":' + b"[" * (depth - 1) + inner + b"]" * (depth - 1) + b"}"
    shallow = b'{"a":"' + b"x" * 100 + b'"}'
    check = QuickCheck(ROW_BYTES_MAX, DEPTH_MAX)
    for lines in ([deep], [shallow, deep], [deep, shallow, deep]):
        if check.rows_in(b"\n".join([*lines, b""])):
            assert flaw_of(deep) is None
    assert depth >= DEPTH_MAX - 2 or check.rows_in(b"\n".join([shallow, deep, b""])) == 2
    assert check.rows_in(shallow + b"\n") == 1, "after a refusal it goes on"


def test_a_name_that_a_line_has_by_chance_is_not_vouched_for() -> None:
    check = QuickCheck(ROW_BYTES_MAX, DEPTH_MAX)
    line = b'{"a":"' + b"x" * 100 + b'"}'
    assert check.rows_in(line + b"\n" + line + b"\n") == 2
    assert check.rows_in(line + b"," + check._between[1:] + line + b"\n") == 0


ODD = st.sampled_from([b"", b"5", b" {}", b'{"a":NaN}', b'{"a":"\\ud800"}', b'{"a":"' + b"x" * (1 << 18) + b'"}'])


@given(st.lists(st.tuples(ODD | st.none(), st.integers(1, 5)), max_size=8), st.integers(0, 400_000))
def test_what_is_sifted_is_all_there_in_its_order(groups: list[tuple[bytes | None, int]], length: int) -> None:
    sound = b'{"a":"' + b"x" * length + b'"}'
    lines = [sound if odd is None else odd for odd, times in groups for _ in range(times)]
    stretch = b"".join(line + b"\n" for line in lines)
    sifted = list(QuickCheck(ROW_BYTES_MAX, DEPTH_MAX).sifted(stretch))
    assert b"".join(some.data if isinstance(some, Rows) else some for some in sifted) == stretch
    for some in sifted:
        if isinstance(some, Rows):
            vouched = some.data.split(b"\n")[:-1]
            assert some.count == len(vouched)
            assert all(flaw_of(line) is None for line in vouched)
            assert some.last() == Rows(vouched[-1] + b"\n", 1)
        else:
            assert some.endswith(b"\n")


def test_sound_rows_are_one_piece_however_many_and_however_long() -> None:
    body = b"".join(GeneratedFiles(1500, seed=5).blocks())
    assert list(QuickCheck(ROW_BYTES_MAX, DEPTH_MAX).sifted(body)) == [Rows(body, 1500)]
    big = b'{"a":"' + b"x" * 300_000 + b'"}\n'
    assert list(QuickCheck(ROW_BYTES_MAX, DEPTH_MAX).sifted(body + big + body)) == [Rows(body + big + body, 3001)]
