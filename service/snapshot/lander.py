"""One attempt's way from blocks of bytes to published chunks: decode, split, sort, compress, off the event loop."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from service.dxr.inflate import decoder_for
from service.landing.chunks import ChunkWriter, SealedChunk
from service.landing.publish import PartPublisher
from service.snapshot.lines import LineSplitter
from service.snapshot.rows import RowSorter, Sorted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor

    from service.landing.documents import Chunk
    from service.landing.port import Landing
    from service.snapshot.progress import Progress

BLOCK_BYTES: Final = 1 << 20
# Sorted at once. Lines of one byte take a hundred times their size while they are: no more of them wait to be stored.
_PIECE_BYTES: Final = 1 << 18
_LINES_MAX: Final = 1 << 14


@dataclass(frozen=True, slots=True)
class Limits:
    """`DXR_MAX_ROW_BYTES` and `LANDING_CHUNK_BYTES`."""

    row_bytes_max: int
    chunk_bytes_max: int


@dataclass(frozen=True, slots=True)
class Contents:
    """What an attempt landed, as a commit names it."""

    chunks: list[Chunk]
    rejects: list[Chunk]


class RowLander:
    """Takes blocks as they come; while one is read, the one before is landed by a thread.

    One thread sorts and stores: sorting holds the interpreter, so a second one would mostly wait for it, and each wait
    costs (docs/decisions/0022). At most one block waits, one is landed, one part per kind is open and two are being
    published: memory does not grow with the stream. A compressed block may grow a thousandfold: `watch` is called
    between its pieces and may raise. `sorting_s` adds up the seconds in which bytes were sorted, and not those in which
    they were stored or published.
    """

    def __init__(
        self,
        landing: Landing,
        folder: str,
        limits: Limits,
        *,
        content_encoding: str,
        record_cap: int | None,
        workers: Executor,
        progress: Progress,
        watch: Callable[[RowLander], None],
    ) -> None:
        self._workers = workers
        self._progress = progress
        self._watch = watch
        self._now_s = asyncio.get_running_loop().time
        self._decoder = decoder_for(content_encoding)
        self._pieces: Iterator[list[bytes]] | None = None
        self.rows = 0
        self.capped = False
        self.sorting_s = 0.0
        # One byte more than a row may have, for the carriage return that is not part of it.
        self._splitter = LineSplitter(limits.row_bytes_max + 1)
        self._sorter = RowSorter(limits.row_bytes_max, record_cap)
        self._rows = ChunkWriter(landing, folder, "part", limits.chunk_bytes_max)
        self._rejects = ChunkWriter(landing, folder, "rejects", limits.chunk_bytes_max)
        self._published = PartPublisher(landing)
        self._working: asyncio.Future[list[SealedChunk]] | None = None

    async def feed(self, block: list[bytes]) -> None:
        """Hand over a block; waits for the one before. A small block is waited for too: its rows count at once."""
        await self._worked()
        block_bytes = sum(map(len, block))
        self._progress.wire_bytes += block_bytes
        self._pieces = _grouped(piece for wire in block for piece in self._decoder.feed(wire))
        self._work(self._land)
        if block_bytes < BLOCK_BYTES:
            await self._worked()

    async def finish(self) -> Contents:
        """Judge the whole answer, seal and publish what is open. Raises `UpstreamError` when it is not whole."""
        await self._worked()
        self._work(self._judge)
        await self._worked()
        chunks = await self._published.finish()
        self._tell_chunks()
        return Contents([chunk for chunk in chunks if not _is_rejects(chunk)], list(filter(_is_rejects, chunks)))

    async def discard(self) -> None:
        """Forget what is not published; what is published nothing refers to."""
        if self._working is not None:
            await asyncio.wait([self._working])
            if not self._working.cancelled() and self._working.exception() is None:
                for sealed in self._working.result():
                    sealed.part.discard()
        await self._published.discard()
        self._rows.discard()
        self._rejects.discard()

    def _work(self, work: Callable[[], list[SealedChunk]]) -> None:
        self._working = asyncio.get_running_loop().run_in_executor(self._workers, work)

    async def _worked(self) -> None:
        """All blocks so far are in parts, and the full ones are on their way."""
        while self._working is not None:
            sealed = await asyncio.shield(self._working)
            self._working = None
            self._tell_rows()
            for one in sealed:
                await self._published.add(one)
            self._tell_chunks()
            if self._pieces is not None:
                self._watch(self)
                self._work(self._land)

    def _tell_rows(self) -> None:
        """While nothing is sorted, so that the counts balance."""
        told, sorter = self._progress, self._sorter
        self.rows, self.capped = sorter.rows, sorter.capped
        told.rows, told.rejected_rows, told.blank_lines = sorter.rows, sorter.rejected_rows, sorter.blank_lines
        told.served_lines, told.raw_bytes = sorter.served_lines, sorter.raw_bytes

    def _tell_chunks(self) -> None:
        chunks = [chunk for chunk in self._published.chunks if not _is_rejects(chunk)]
        self._progress.stored_bytes = sum(chunk.stored_bytes for chunk in chunks)
        self._progress.chunks = len(chunks)

    def _land(self) -> list[SealedChunk]:
        began_s = self._now_s()
        found = self._sort()
        self.sorting_s += self._now_s() - began_s
        return [*self._store(found)]

    def _sort(self) -> list[Sorted]:
        found: list[Sorted] = []
        before, left_bytes = self._sorter.served_lines, BLOCK_BYTES
        while left_bytes > 0 and self._sorter.served_lines - before < _LINES_MAX:
            pieces = None if self._pieces is None or self._sorter.capped else next(self._pieces, None)
            if pieces is None:
                self._pieces = None
                break
            left_bytes -= sum(map(len, pieces))
            found.append(self._sorter.feed(self._splitter.feed(pieces)))
        return found

    def _judge(self) -> list[SealedChunk]:
        if self._sorter.capped:
            last = self._sorter.finish(b"")
        else:
            self._decoder.finish()
            last = self._sorter.finish(self._splitter.finish())
        return [*self._store([last]), *self._rows.close(), *self._rejects.close()]

    def _store(self, found: list[Sorted]) -> Iterator[SealedChunk]:
        for lines in found:
            for rows in lines.rows:
                yield from self._rows.write(rows.data, rows.count)
            if lines.rejects:
                encoded = [msgspec.json.encode(reject) for reject in lines.rejects]
                yield from self._rejects.write(b"\n".join([*encoded, b""]), len(encoded))


def _grouped(pieces: Iterator[bytes]) -> Iterator[list[bytes]]:
    group: list[bytes] = []
    left_bytes = _PIECE_BYTES
    for piece in pieces:
        for start in range(0, len(piece), _PIECE_BYTES):
            group.append(piece[start : start + _PIECE_BYTES])
            left_bytes -= len(group[-1])
            if left_bytes <= 0:
                yield group
                group, left_bytes = [], _PIECE_BYTES
    if group:
        yield group


def _is_rejects(chunk: Chunk) -> bool:
    return chunk.path.rpartition("/")[2].startswith("rejects-")
