"""Blocks are landed in their order, whoever proves their rows, and nothing stays behind when that fails."""

from __future__ import annotations

import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from isal import igzip

from service.errors import LandingError, UpstreamError
from service.landing.folder import FolderLanding, FolderPart
from service.snapshot.lander import BLOCK_BYTES, Contents, Limits, RowLander
from service.snapshot.progress import Progress
from tests.simulators.dxr import GeneratedFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from service.landing.port import Part

FOLDER = "chunks/file_metadata/2026-01-01/run/attempt-01"
LIMITS = Limits(1 << 20, 3 << 20)
BIG = b'{"a":"' + b"x" * 900_000 + b'"}'
ODD = [b"", b"no json", b'{"a":"\\ud800"}', b"[1]", b'{"a":"' + b"x" * (1 << 20) + b'"}', b"\t"]


def body() -> bytes:
    """Some 20 MB of rows, a few of them big ones, now and then a line that nobody vouches for."""
    lines = b"".join(GeneratedFiles(8_000, seed=3).blocks()).splitlines()
    for number, place in enumerate(range(0, len(lines), 900)):
        lines.insert(place, ODD[number % len(ODD)])
    for place in (1000, 4000, 4001):
        lines.insert(place, BIG)
    return b"\n".join([*lines, b""])


def pieces(data: bytes, size: int) -> Generator[list[bytes]]:
    for start in range(0, len(data), size):
        block = data[start : start + size]
        yield [block[at : at + 70_000] for at in range(0, len(block), 70_000)]


async def landed(
    landing: FolderLanding, blocks: Generator[list[bytes]], progress: Progress, coding: str = ""
) -> Contents:
    with ThreadPoolExecutor(1) as thread:
        lander = RowLander(
            landing,
            FOLDER,
            LIMITS,
            content_encoding=coding,
            record_cap=None,
            thread=thread,
            progress=progress,
            watch=lambda _: None,
        )
        try:
            for block in blocks:
                await lander.feed(block)
            return await lander.finish()
        except BaseException:
            await lander.discard()
            raise


@pytest.mark.parametrize("size", [10_000, 300_000, BLOCK_BYTES + 70_000, 5 * BLOCK_BYTES])
@pytest.mark.parametrize(("coding", "coded"), [("", bytes), ("gzip", igzip.compress)], ids=["plain", "gzip"])
async def test_rows_and_rejects_are_in_their_order(
    size: int, coding: str, coded: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    data, progress = body(), Progress()
    contents = await landed(FolderLanding(tmp_path), pieces(coded(data), size), progress, coding)
    lines = data.split(b"\n")[:-1]
    rows = b"".join(gzip.decompress((tmp_path / chunk.path).read_bytes()) for chunk in contents.chunks)
    rejected = [
        json.loads(line)["line_number"]
        for chunk in contents.rejects
        for line in gzip.decompress((tmp_path / chunk.path).read_bytes()).splitlines()
    ]
    odd = {number: line for number, line in enumerate(lines, 1) if line in ODD}
    blank = [number for number, line in odd.items() if not line.strip()]
    surrogate = [number for number, line in odd.items() if line == ODD[2]]
    assert rejected == [number for number in odd if number not in {*blank, *surrogate}]
    assert rows == b"".join(
        line + b"\n" for number, line in enumerate(lines, 1) if number not in odd or number in surrogate
    )
    assert len(contents.chunks) > 3
    assert progress.counts() == {
        "served_lines": len(lines),
        "rows": len(lines) - len(odd) + len(surrogate),
        "rejected_rows": len(rejected),
        "blank_lines": len(blank),
        "raw_bytes": len(rows),
        "stored_bytes": sum(chunk.stored_bytes for chunk in contents.chunks),
        "chunks": len(contents.chunks),
    }


async def test_what_the_answer_is_shows_before_more_of_it_is_asked_for(tmp_path: Path) -> None:
    def blocks() -> Generator[list[bytes]]:
        yield [b"<html>\n" + b"<p>sign in first</p>\n" * (BLOCK_BYTES // 20)]
        pytest.fail("more was asked for")

    with pytest.raises(UpstreamError, match="markup"):
        await landed(FolderLanding(tmp_path), blocks(), Progress())


class Full(FolderLanding):
    """A disk that takes so many writes."""

    def __init__(self, root: Path, writes: int) -> None:
        super().__init__(root)
        self.left = writes

    def new_part(self, path: str) -> FolderPart:
        landing, part = self, super().new_part(path)

        class Part(FolderPart):
            def __init__(self) -> None:
                vars(self).update(vars(part))

            def write(self, data: bytes) -> None:
                landing.left -= 1
                if landing.left < 0:
                    raise LandingError("LANDING_FULL", "full", "free some")
                super().write(data)

        return Part()


@pytest.mark.parametrize("writes", [0, 1, 3, 5, 8])
async def test_a_landing_that_fails_under_a_block_that_runs_ahead_leaves_nothing_open(
    writes: int, tmp_path: Path
) -> None:
    with pytest.raises(LandingError):
        await landed(Full(tmp_path, writes), pieces(body(), BLOCK_BYTES + 70_000), Progress())
    assert not list(tmp_path.rglob("*.tmp"))


class Unreachable(FolderLanding):
    """A landing that names so many parts."""

    def __init__(self, root: Path, parts: int) -> None:
        super().__init__(root)
        self.left = parts

    async def publish(self, part: Part, size_bytes: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise LandingError("LANDING_IO", "gone", "look for it")
        await super().publish(part, size_bytes)


@pytest.mark.parametrize("parts", [0, 1, 3])
async def test_parts_that_cannot_be_published_are_discarded_also_those_that_wait(parts: int, tmp_path: Path) -> None:
    with pytest.raises(LandingError):
        await landed(Unreachable(tmp_path, parts), pieces(body(), 5 * BLOCK_BYTES), Progress())
    assert not list(tmp_path.rglob("*.tmp"))
    assert len(list(tmp_path.rglob("*.jsonl.gz"))) <= parts
    assert parts or not (tmp_path / FOLDER).parent.exists()
