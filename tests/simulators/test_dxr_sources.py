"""Mixing and reading sources: bad lines that can be reconciled, streams cut at any place."""

import json
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.simulators.dxr import BadLines, GeneratedFiles, Together
from tests.simulators.dxr.sources import RowBlocks
from tests.simulators.dxr.wire import count_lines

LINES = st.lists(st.sampled_from([b"", b"a", b"bc", b"{}"]), max_size=12)


def no_constant(name):
    raise ValueError(f"{name} is not JSON")


def is_row(line):
    try:
        return isinstance(json.loads(line.decode(), parse_constant=no_constant), dict)
    except ValueError:
        return False


def test_bad_lines_balance():
    rows = GeneratedFiles(4000, seed=1, mean_bytes=600)
    source = BadLines(rows, every=50, seed=2)
    lines = b"".join(source.blocks()).split(b"\n")[:-1]
    assert [line for line in lines if is_row(line)] == [rows.row(index) for index in range(4000)]
    assert sum(bool(line) and not is_row(line) for line in lines) == source.bad_lines == pytest.approx(80, rel=0.2)
    assert lines.count(b"") == source.blank_lines == source.bad_lines
    assert source.count == 4000


def test_bad_lines_come_in_every_kind_and_the_same_way_each_time():
    source = BadLines(GeneratedFiles(40), every=1)
    first = b"".join(source.blocks())
    bad = [line for line in first.split(b"\n") if line and not is_row(line)]
    assert len(bad) >= len(source.kinds) == 8
    assert first == b"".join(source.blocks())
    assert first != b"".join(BadLines(GeneratedFiles(40), every=3).blocks())


def test_bad_lines_and_together_are_lazy():
    source = BadLines(Together(GeneratedFiles(10**12), GeneratedFiles(10**12)), every=100)
    assert source.count == 2 * 10**12
    assert all(len(block) < 512 * 1024 for block in islice(source.blocks(), 10))


@given(lines=LINES, cuts=st.lists(st.integers(0, 30), max_size=4))
def test_lines_are_counted_alike_wherever_the_body_is_cut(lines, cuts):
    body = b"".join(line + b"\n" for line in lines)
    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    total, blank, within = 0, 0, False
    for start, end in pairwise(places):
        piece = body[start:end]
        counted = count_lines(piece, within_line=within)
        total, blank, within = total + counted[0], blank + counted[1], not piece.endswith(b"\n")
    assert (total, blank) == (len(lines), lines.count(b""))


@given(blocks=st.lists(LINES.filter(bool), max_size=5), rows=st.integers(0, 70), count=st.integers(0, 100))
def test_a_stream_is_read_piece_by_piece_without_loss(blocks, rows, count):
    made = [b"".join(line + b"\n" for line in lines) for lines in blocks]
    whole = b"".join(made)
    reading = RowBlocks(iter(made))
    first = b"".join(reading.take_rows(rows))
    some = b"".join(reading.take_bytes(count))
    assert first == b"".join(whole.splitlines(keepends=True)[:rows])
    assert len(some) == min(count, len(whole) - len(first))
    assert first + some + b"".join(reading.take_rest()) == whole
