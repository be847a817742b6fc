"""Lines of every kind over a real connection: rows keep each byte, others are rejected with theirs, and it balances."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from service import wiring
from service.errors import DxrIngestError
from tests.integration.failures.attempts import landed, outcome, rows_of
from tests.integration.runs import commits, snapshot, stored_lines
from tests.simulators.dxr import DxrSimulator, hostile
from tests.simulators.dxr.hostile import Lines

if TYPE_CHECKING:
    from service.wiring import Service
    from tests.conftest import MakeSettings

BOM = b"\xef\xbb\xbf"
ROW = b'{"fileId":"a"}'
ROW_BYTES_MAX = 60
DEPTH_MAX = 500


def refuse(constant: str) -> None:
    raise ValueError(constant)


def depth_of(value: Any) -> int:
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
    return depth


def is_row(line: bytes, row_bytes_max: int) -> bool:
    """What a row is, by Python's own JSON parser."""
    try:
        value = json.loads(line.decode(), parse_constant=refuse)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and depth_of(value) <= DEPTH_MAX and len(line) <= row_bytes_max


class Expected:
    """What must become of an answer, told line by line."""

    def __init__(self, body: bytes, row_bytes_max: int) -> None:
        self._row_bytes_max = row_bytes_max
        *whole, tail = body.removeprefix(BOM).split(b"\n")
        self.lines = [*whole, tail] if tail else whole
        self.rows: list[bytes] = []
        self.rejects: list[tuple[int, bytes]] = []
        for number, line in enumerate(self.lines, 1):
            row = line.removesuffix(b"\r")
            if is_row(row, row_bytes_max):
                self.rows.append(row)
            elif not self._is_blank(row):
                self.rejects.append((number, line))
        self.is_torn = bool(tail) and not is_row(tail.removesuffix(b"\r"), row_bytes_max)

    @property
    def fails(self) -> bool:
        rows = (line.removesuffix(b"\r") for line in self.lines)
        first = next((row.lstrip(b" \t\r") for row in rows if not self._is_blank(row)), b"")
        return (
            self.is_torn
            or bool(self.rejects and not self.rows)
            or first.startswith(b"<")
            or (first.startswith(b"[") and b"]" not in first)  # the lines below hold no array that ends early
            or bool(self.rows and self._is_error(json.loads(self.rows[-1])))
        )

    def _is_blank(self, row: bytes) -> bool:
        """A line of blanks above the limit is none: it is rejected, and what comes after it is not the first line."""
        return not row.strip(b" \t\r") and len(row) <= self._row_bytes_max

    @staticmethod
    def _is_error(row: dict[str, Any]) -> bool:
        return bool(row.keys() & {"error", "errors"}) and "fileId" not in row


LINES = st.sampled_from(
    [
        b"",
        b" \t",
        b"\r",
        b"\r\r",
        b" " * 61,
        ROW,
        b" " + ROW + b"\t",
        ROW + b"\r",
        ROW + b"\r\r",
        BOM + ROW,
        b"{}",
        b'{"error":"x"}',
        b'{"errors":[],"fileId":1}',
        b'{"fileId":"a","fileId":"b"}',
        b'{"fileid":1,"FileId":2}',
        b'{"x":"\\ud800"}',
        b'{"x":"\\\\ud800"}',
        b'{"x":"\\u0000"}',
        b'{"x":"\x00"}',
        b'{"x":"\xff"}',
        b'{"x":"\xed\xa0\x80"}',
        '{"x":"\u2028\u2029\u0085\U0001f600"}'.encode(),
        b'{"x":NaN}',
        b'{"x":1e999}',
        b'{"x":' + b"9" * 40 + b"}",
        b'{"x":"' + b"y" * 52 + b'"}',
        b'{"x":"' + b"y" * 53 + b'"}',
        b'{"x":"' + b"y" * 54 + b'"}',
        b"<html>",
        b"[1]",
        b"[{",
        b"[" + b"1," * 40,
        b"5",
        b"null",
        b"{",
        b"}",
        ROW[:7],
        ROW + ROW,
        b"nothing",
        b"\xfe\xff\x00{",
        b"\x0b",
        b"\x1e" + ROW,
    ]
)
BODIES = st.tuples(
    st.sampled_from([b"", BOM, BOM + BOM]),
    st.lists(LINES, max_size=8),
    st.sampled_from([b"\n", b"\r\n"]),
    st.sampled_from([b"", b"\n"]),
).map(lambda parts: parts[0] + parts[2].join(parts[1]) + parts[3])


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(b" " * 61 + b"\n<html>\n" + ROW, "chunked", "identity")
@given(BODIES, st.sampled_from(["chunked", "length"]), st.sampled_from(["identity", "gzip", "deflate", "raw deflate"]))
async def test_any_lines_in_any_framing_land_byte_for_byte_or_not_at_all(
    tight: Service, dxr: DxrSimulator, body: bytes, framing: Any, coding: Any
) -> None:
    before, expected = len(commits(tight)), Expected(body, ROW_BYTES_MAX)
    dxr.faults.next(hostile.Exactly(hostile.answer_bytes(body, framing=framing, coding=coding)))
    commit = await outcome(tight)
    if isinstance(commit, DxrIngestError):
        assert expected.fails, commit.message
        assert commit.code in {"STREAM_CUT", "NOT_NDJSON"}
        assert len(commits(tight)) == before
        return
    assert not expected.fails
    assert rows_of(tight) == b"".join(row + b"\n" for row in expected.rows)
    rejects = [json.loads(line) for line in stored_lines(tight, commits(tight)[-1]["rejects"]).splitlines()]
    assert [reject["line_number"] for reject in rejects] == [number for number, _ in expected.rejects]
    for reject, (_, line) in zip(rejects, expected.rejects, strict=True):
        assert (reject["length"], reject["sha256"]) == (len(line), hashlib.sha256(line).hexdigest())
        assert reject["raw"] == (None if reject["reason"] == "TOO_LONG" else base64.b64encode(line).decode())
    counts = commit.counts
    assert counts["served_lines"] == len(expected.lines)
    assert counts["served_lines"] == counts["rows"] + counts["rejected_rows"] + counts["blank_lines"]
    assert (counts["rows"], counts["rejected_rows"]) == (len(expected.rows), len(expected.rejects))


@pytest.fixture
async def tight(dxr: DxrSimulator, make_settings: MakeSettings) -> Any:
    """A service for rows of at most 60 bytes that lands empty snapshots, too."""
    flags = {"dxr_max_row_bytes": ROW_BYTES_MAX, "snapshot_allow_empty": True}
    async with wiring.opened(make_settings(dxr_base_url=dxr.url, **flags)) as service:
        yield service


@pytest.mark.parametrize("chunk_bytes", [1, 2, 60, 61, 500])
async def test_chunks_of_any_size_hold_the_same_rows(
    chunk_bytes: int, dxr: DxrSimulator, make_settings: MakeSettings
) -> None:
    body = b"".join(b'{"fileId":"%d"}\nno row\n' % row for row in range(40))
    dxr.source = Lines(body)
    async with wiring.opened(make_settings(dxr_base_url=dxr.url, landing_chunk_bytes=chunk_bytes)) as service:
        commit = await landed(service)
        rows = Expected(body, 99).rows
        assert rows_of(service) == b"".join(row + b"\n" for row in rows)
        assert all(chunk.raw_bytes <= chunk_bytes or chunk.rows == 1 for chunk in [*commit.chunks, *commit.rejects])
        assert (commit.rows, commit.rejected_rows) == (40, 40)


async def test_same_row_twice_and_same_file_with_other_content_all_land(service: Service, dxr: DxrSimulator) -> None:
    body = ROW + b"\n" + ROW + b"\n" + b'{"fileId":"a","size":2}\n'
    dxr.source = Lines(body)
    assert (await landed(service)).rows == 3
    assert rows_of(service) == body


async def test_cap_ends_at_its_row_whatever_comes_behind(service: Service, dxr: DxrSimulator) -> None:
    dxr.source = Lines((ROW + b"\nno row\n") * 100)
    dxr.faults.next(hostile.Dripping(b"\n", after_rows=100))
    run = await snapshot(service, record_cap=7)
    assert (run.error, run.counts["rows"], run.counts["rejected_rows"]) == (None, 7, 6)
    assert rows_of(service) == (ROW + b"\n") * 7
