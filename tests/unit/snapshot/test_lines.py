"""The splitter gives the same lines wherever the pieces are cut."""

from __future__ import annotations

import hashlib
import itertools
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from service.snapshot import lines as module
from service.snapshot.lines import BLANK, BOM, LineSplitter, LoneLine, LongLine

LIMIT = 12
BODIES = st.lists(st.sampled_from([b"\n", b"\r\n", b"a", b"{}", b" ", BOM, b"0123456789abcdef", b"\xe2\x80\xa8"])).map(
    b"".join
)


def split(body: bytes, cuts: list[int], at_once: int, limit: int) -> tuple[list[bytes | LongLine], bytes | LongLine]:
    splitter = LineSplitter(limit)
    lines: list[bytes | LongLine] = []
    places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    pieces = [body[start:end] for start, end in itertools.pairwise(places)]
    for start in range(0, len(pieces), at_once):
        lines += singly(splitter.feed(pieces[start : start + at_once]))
    return lines, splitter.finish()


def singly(found: list[bytes | LoneLine | LongLine]) -> list[bytes | LongLine]:
    """Each line, without its newline."""
    lines: list[bytes | LongLine] = []
    for some in found:
        if isinstance(some, bytes):
            lines += some.split(b"\n")[:-1]
        else:
            lines.append(some.data if isinstance(some, LoneLine) else some)
    return lines


def measured(line: bytes) -> LongLine:
    bare = line.strip(BLANK)
    return LongLine(len(line), hashlib.sha256(line).hexdigest(), bare[:1], bare[-1:])


def model(body: bytes, limit: int) -> tuple[list[bytes | LongLine], bytes | LongLine]:
    *lines, tail = [line if len(line) <= limit else measured(line) for line in body.removeprefix(BOM).split(b"\n")]
    return lines, tail


@given(
    BODIES,
    st.lists(st.integers(min_value=0, max_value=1000)),
    st.integers(1, 4),
    st.sampled_from([LIMIT, 1000]),
    st.sampled_from([0, 5, 1000]),
)
def test_cuts_make_no_difference(body: bytes, cuts: list[int], at_once: int, limit: int, apart: int) -> None:
    with mock.patch.object(module, "_APART_BYTES", apart):
        lines, tail = split(body, cuts, at_once, limit)
    if body in {BOM[:1], BOM[:2]}:  # half a BOM at the end of everything is a torn tail
        assert (lines, tail) == ([], body)
    else:
        assert (lines, tail) == model(body, limit)


def test_a_long_line_is_measured_and_not_held() -> None:
    splitter = LineSplitter(LIMIT)
    for _ in range(1000):
        assert splitter.feed([b"x" * 100]) == []
        assert sum(map(len, splitter._held)) <= LIMIT + 100
    assert splitter.feed([b"\nok\n"]) == [measured(b"x" * 100_000), b"ok\n"]


def test_a_line_of_many_pieces_comes_alone() -> None:
    splitter = LineSplitter(1 << 20)
    assert splitter.feed([b"before\n" + b"x" * 200_000]) == [b"before\n"]
    assert splitter.feed([b"y" * 100_000]) == []
    found = splitter.feed([b"z", b"\nafter\n", b"tail"])
    assert found == [LoneLine(b"x" * 200_000 + b"y" * 100_000 + b"z"), b"after\n"]
    assert splitter.finish() == b"tail"
