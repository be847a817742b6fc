"""The golden answers, through the same objects that land a stream, cut at odd places."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from service.errors import UpstreamError
from service.snapshot.lines import BLANK, BOM, LineSplitter
from service.snapshot.rows import Reject, Rows, RowSorter, flaw_of

ANSWERS = Path(__file__).parents[2] / "golden" / "answers"
EXPECTED: dict[str, dict[str, Any]] = json.loads((ANSWERS / "expected.json").read_text())
ROW_BYTES_MAX = 64 * 2**20


def sort(body: bytes, piece_bytes: int, row_bytes_max: int) -> tuple[RowSorter, list[bytes], list[Reject]]:
    splitter, sorter = LineSplitter(row_bytes_max + 1), RowSorter(row_bytes_max)
    rows: list[Rows] = []
    rejects: list[Reject] = []
    for start in range(0, len(body), piece_bytes):
        out = sorter.feed(splitter.feed([body[start : start + piece_bytes]]))
        rows += out.rows
        rejects += out.rejects
    out = sorter.finish(splitter.finish())
    return sorter, [row for some in [*rows, *out.rows] for row in lines_of(some)], rejects + out.rejects


def lines_of(rows: Rows) -> list[bytes]:
    lines = rows.data.split(b"\n")
    assert (lines.pop(), len(lines)) == (b"", rows.count)
    return lines


def rows_alone(body: bytes, row_bytes_max: int) -> list[bytes]:
    """The rows of an answer, also of one that fails as a whole."""
    lines = [line.removesuffix(b"\r") for line in body.removeprefix(BOM).split(b"\n")]
    return [line for line in lines if len(line) <= row_bytes_max and flaw_of(line) is None]


@pytest.mark.parametrize("piece_bytes", [1, 7, 1 << 20])
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_golden_answer(name: str, piece_bytes: int) -> None:
    expected = EXPECTED[name]
    body = (ANSWERS / f"{name}.ndjson").read_bytes()
    row_bytes_max = expected.get("row_bytes_max", ROW_BYTES_MAX)
    if "error" in expected:
        with pytest.raises(UpstreamError) as caught:
            sort(body, piece_bytes, row_bytes_max)
        assert caught.value.code == expected["error"]
        return
    sorter, rows, rejects = sort(body, piece_bytes, row_bytes_max)
    assert b"".join(row + b"\n" for row in rows) == (ANSWERS / f"{name}.rows").read_bytes()
    assert [[reject.line_number, reject.reason] for reject in rejects] == expected["rejects"]
    counts = {
        "served_lines": sorter.counts.served_lines,
        "rows": sorter.counts.rows,
        "blank_lines": sorter.counts.blank_lines,
    }
    assert counts == {key: expected[key] for key in counts}
    assert sorter.counts.served_lines == sorter.counts.rows + sorter.counts.rejected_rows + sorter.counts.blank_lines


@pytest.mark.parametrize("name", sorted(name for name in EXPECTED if not EXPECTED[name].get("rejects")))
def test_golden_answer_cut_at_any_byte_holds_no_torn_row(name: str) -> None:
    """Whatever the framing says: what is left of an answer are its first rows, or it fails.

    The beginning of a line that is no row may be one (two objects on a line): there only the framing tells.
    """
    body = (ANSWERS / f"{name}.ndjson").read_bytes()
    row_bytes_max = EXPECTED[name].get("row_bytes_max", ROW_BYTES_MAX)
    whole = rows_alone(body, row_bytes_max)
    for cut in range(len(body)):
        try:
            _, rows, _ = sort(body[:cut], len(body), row_bytes_max)
        except UpstreamError:
            continue
        # Blanks behind the last row may be cut off.
        assert [row.rstrip(BLANK) for row in rows] == [row.rstrip(BLANK) for row in whole[: len(rows)]]


def test_every_golden_file_is_expected() -> None:
    assert {path.stem for path in ANSWERS.glob("*.ndjson")} == set(EXPECTED)
