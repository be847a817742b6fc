"""The splitter gives the same lines wherever the pieces are cut."""

from __future__ import annotations

import hashlib
import itertools

from hypothesis import given
from hypothesis import strategies as st

from service.snapshot.lines import BLANK, BOM, LineSplitter, LongLine

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


def singly(stretches: list[bytes | LongLine]) -> list[bytes | LongLine]:
    """Each line of the stretches, without its newline."""
    return [
        line
        for stretch in stretches
        for line in ([stretch] if isinstance(stretch, LongLine) else stretch.split(b"\n")[:-1])
    ]


def measured(line: bytes) -> LongLine:
    bare = line.strip(BLANK)
    return LongLine(len(line), hashlib.sha256(line).hexdigest(), bare[:1], bare[-1:])


def model(body: bytes, limit: int) -> tuple[list[bytes | LongLine], bytes | LongLine]:
    *lines, tail = [line if len(line) <= limit else measured(line) for line in body.removeprefix(BOM).split(b"\n")]
    return lines, tail


@given(BODIES, st.lists(st.integers(min_value=0, max_value=1000)), st.integers(1, 4), st.sampled_from([LIMIT, 1000]))
def test_cuts_make_no_difference(body: bytes, cuts: list[int], at_once: int, limit: int) -> None:
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
