"""Answers made to fill the memory: whatever DXR sends, the real command stays within 512 MiB."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import TOKEN
from tests.integration.runs import commits_below, lines_below
from tests.simulators.dxr import DxrSimulator, Together, faults, hostile
from tests.simulators.dxr.hostile import Lines, OneLine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.simulators.dxr.faults import Fault

LIMIT_MIB = 512
MIB = 1 << 20
ROW_BYTES_MAX = 64 * MIB
ROW = b'{"fileId":"a"}\n'
BEGIN, END = b'{"fileId":"', b'"}'


@dataclass(frozen=True)
class Measured:
    """How a run of the command ended."""

    run: dict[str, Any]
    landing: Path
    peak_mib: int

    @property
    def commit(self) -> dict[str, Any]:
        [commit] = commits_below(self.landing)
        return commit

    @property
    def rejects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in lines_below(self.landing, self.commit["rejects"]).splitlines()]


async def measured(source: Any, tmp_path: Path, fault: Fault | None = None, **variables: str) -> Measured:
    async with DxrSimulator(source, tokens=(TOKEN,)) as dxr:
        if fault:
            dxr.faults.always(fault)
        return await measured_command("snapshot", dxr, tmp_path, variables)


async def measured_command(command: str, dxr: DxrSimulator, tmp_path: Path, variables: Mapping[str, str]) -> Measured:
    arguments = (sys.executable, str(Path(__file__).with_name("measured.py")), command, "-o", "json")
    environ = {
        "PATH": os.environ["PATH"],
        "PEAK_FILE": str(tmp_path / "peak"),
        "DXR_BASE_URL": dxr.url,
        "DXR_BEARER_TOKEN": TOKEN,
        "DXR_RETRY_ATTEMPTS": "1",
        "LANDING_PATH": str(tmp_path / "landing"),
        "STATE_DIR": str(tmp_path / "state"),
    }
    process = await asyncio.create_subprocess_exec(
        *arguments, env=environ | variables, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    out, _ = await process.communicate()
    return Measured(json.loads(out), tmp_path / "landing", int((tmp_path / "peak").read_text()))


def one_line(piece: bytes, line_bytes: int, begin: bytes = BEGIN, end: bytes = END) -> OneLine:
    """A line of exactly so many bytes, then a row; the piece must divide a MiB."""
    room = line_bytes - len(begin) - len(end)
    block = piece * (MIB // len(piece))
    rest = piece * (room % MIB // len(piece))
    fill = b" " * (room % MIB % len(piece))
    return OneLine(begin, block, room // MIB, rest + end + fill, ROW)


def sha256(source: OneLine) -> str:
    line = hashlib.sha256()
    for block in source.blocks():
        line.update(block.removesuffix(b"\n" + ROW))
    return line.hexdigest()


ROWS = {
    "a row of 30 MB": one_line(b"x", 30_000_000),
    "a row of exactly 64 MiB": one_line(b"x", ROW_BYTES_MAX),
    "letters of four bytes": one_line("\U0001f600".encode(), ROW_BYTES_MAX),
    "one letter of four bytes": one_line(b"x", ROW_BYTES_MAX, BEGIN + "\U0001f600".encode()),
    "escaped lone surrogates": one_line(b"\\ud800xx", ROW_BYTES_MAX),
    "backslashes": one_line(b"\\\\", ROW_BYTES_MAX),
    "empty objects": one_line(b"{}, ", ROW_BYTES_MAX, b'{"a":[', b"0]}"),
    "millions of keys": one_line(b'kk":1, "', ROW_BYTES_MAX, b'{"', b'k":1}'),
}


async def test_large_rows_land(tmp_path: Path) -> None:
    ended = await measured(Together(*ROWS.values()), tmp_path)
    assert (ended.run["state"], ended.commit["rows"], ended.commit["rejected_rows"]) == ("landed", 16, 0)
    assert ended.commit["raw_bytes"] == 30_000_000 + 7 * ROW_BYTES_MAX + 8 * (1 + len(ROW))
    assert ended.peak_mib <= LIMIT_MIB


LONG: dict[str, tuple[OneLine, int, Fault | None]] = {
    "one byte too many": (one_line(b"x", ROW_BYTES_MAX + 1), ROW_BYTES_MAX + 1, None),
    "a line of 300 MiB": (one_line(b"x", 300 * MIB), 300 * MIB, None),
    "a gzip bomb of one line": (one_line(b"x", 1024 * MIB), 1024 * MIB, faults.Gzip()),
}


@pytest.mark.parametrize(("source", "length", "fault"), LONG.values(), ids=LONG)
async def test_line_beyond_the_limit_is_rejected_with_its_length_and_hash(
    source: OneLine, length: int, fault: Fault | None, tmp_path: Path
) -> None:
    ended = await measured(source, tmp_path, fault)
    assert (ended.run["state"], ended.commit["rows"]) == ("landed", 1)
    expected = {"line_number": 1, "reason": "TOO_LONG", "length": length, "sha256": sha256(source), "raw": None}
    assert ended.rejects == [expected]
    assert ended.peak_mib <= LIMIT_MIB


FLAWED = {
    "a string without end": one_line(b"x", ROW_BYTES_MAX, BEGIN, b"x}"),
    "a wrong bracket": one_line(b"x", ROW_BYTES_MAX, BEGIN, b'"]'),
    "a byte that is no UTF-8": one_line(b"x", ROW_BYTES_MAX, BEGIN, b'\xff"}'),
    "a depth bomb": one_line(b"[", ROW_BYTES_MAX, b'{"a":', b"}"),
    "a wide and deep one": one_line(b"[" * 512 + b"]" * 512, ROW_BYTES_MAX, b'{"a":[0', b",[]]}"),
}


async def test_large_lines_that_are_no_rows_are_kept_byte_for_byte(tmp_path: Path) -> None:
    ended = await measured(Together(Lines(ROW), *FLAWED.values()), tmp_path)
    assert (ended.run["state"], ended.commit["rows"], ended.commit["rejected_rows"]) == ("landed", 6, 5)
    raws = [hashlib.sha256(base64.b64decode(reject["raw"])).hexdigest() for reject in ended.rejects]
    assert raws == [reject["sha256"] for reject in ended.rejects] == [sha256(line) for line in FLAWED.values()]
    assert ended.peak_mib <= LIMIT_MIB


FLOODS: dict[str, Fault] = {
    "blank lines": hostile.Dripping(b"\n" * MIB, after_rows=1),
    "blank lines in a gzip bomb": hostile.Dripping(b"\n" * 16 * MIB, after_rows=1, compressed=True),
    "lines of one byte": hostile.Dripping(b"1\n" * (MIB // 2), after_rows=1),
    "lines of one byte in a gzip bomb": hostile.Dripping(b"1\n" * 8 * MIB, after_rows=1, compressed=True),
    "chunks of one byte": hostile.Dripping(hostile.chunk(b"x") * 50_000, after_rows=1, raw=True),
    "early hints": hostile.DrippingHead(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 1000),
}


@pytest.mark.parametrize("fault", FLOODS.values(), ids=FLOODS)
async def test_flood_without_rows_is_ended(fault: Fault, tmp_path: Path) -> None:
    ended = await measured(Lines(ROW), tmp_path, fault, DXR_HTTP_TIMEOUT="1")
    assert ended.run["error"]["code"] == "STREAM_STALLED"
    assert commits_below(ended.landing) == []
    assert ended.peak_mib <= LIMIT_MIB


async def test_answers_that_nobody_asked_for_are_not_kept(tmp_path: Path) -> None:
    again = hostile.answer_bytes(ROW, framing="chunked") * 100_000
    ended = await measured(Lines(ROW), tmp_path, hostile.followed_by(again))
    assert (ended.run["state"] == "landed") == (ended.run["error"] is None)
    assert [commit["rows"] for commit in commits_below(ended.landing)] in ([], [1])
    assert ended.peak_mib <= LIMIT_MIB


async def test_hundreds_of_thousands_of_rejects_land(tmp_path: Path) -> None:
    """Records of rejects are a hundred times as long as these lines are."""
    body = gzip.compress((ROW + b"1\n" * 999) * 400)
    ended = await measured(Lines(ROW), tmp_path, hostile.Encoded(body, ("gzip",)))
    counts = ended.run["counts"]
    assert (counts["served_lines"], counts["rows"], counts["rejected_rows"]) == (400_000, 400, 399_600)
    assert ended.commit["rejected_rows"] == sum(chunk["rows"] for chunk in ended.commit["rejects"]) == 399_600
    assert ended.peak_mib <= LIMIT_MIB


async def test_rows_that_are_compressed_to_almost_nothing_land(tmp_path: Path) -> None:
    """Two million times the same row, compressed to almost nothing, are rows all the same."""
    body = gzip.compress(ROW * 2_000_000)
    ended = await measured(Lines(ROW), tmp_path, hostile.Encoded(body, ("gzip",)))
    assert ended.run["counts"]["rows"] == 2_000_000
    assert ended.peak_mib <= LIMIT_MIB
