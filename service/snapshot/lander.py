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
# Lines of one byte take a hundred times their size while they are sorted.
_SORTED_AT_ONCE_BYTES: Final = 1 << 17


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
    """Takes blocks as they come; while one is worked on in a thread, the next one may be read.

    At most one block waits, one part per kind is open and two are being published, so memory does not grow with the
    stream. A compressed block may grow a thousandfold: `watch` is called between its pieces and may raise. `sorting_s`
    adds up the seconds that the stream waited for its bytes to be sorted, and not those for parts to be published.
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
        self._decoder = decoder_for(content_encoding)
        self._pieces: Iterator[bytes] | None = None
        self.sorting_s = 0.0
        # One byte more than a row may have, for the carriage return that is not part of it.
        self._splitter = LineSplitter(limits.row_bytes_max + 1)
        self._sorter = RowSorter(limits.row_bytes_max, record_cap)
        self._rows = ChunkWriter(landing, folder, "part", limits.chunk_bytes_max)
        self._rejects = ChunkWriter(landing, folder, "rejects", limits.chunk_bytes_max)
        self._published = PartPublisher(landing)
        self._at_work: asyncio.Future[list[SealedChunk]] | None = None

    @property
    def rows(self) -> int:
        """Whole rows seen so far."""
        return self._sorter.rows

    @property
    def capped(self) -> bool:
        """Whether the asked number of rows has been reached."""
        return self._sorter.capped

    async def feed(self, block: bytes) -> None:
        """Hand over a block; waits for the one before. A small block is waited for too: its rows count at once."""
        await self._settle()
        self._progress.wire_bytes += len(block)
        self._pieces = self._decoder.feed(block)
        self._begin(self._land_piece)
        if len(block) < BLOCK_BYTES:
            await self._settle()

    async def finish(self) -> Contents:
        """Judge the whole answer, seal and publish what is open. Raises `UpstreamError` when it is not whole."""
        await self._settle()
        self._begin(self._conclude)
        await self._settle()
        chunks = await self._published.finish()
        self._tell()
        return Contents([chunk for chunk in chunks if not _is_rejects(chunk)], list(filter(_is_rejects, chunks)))

    async def discard(self) -> None:
        """Forget what is not published; what is published nothing refers to."""
        if self._at_work is not None:
            await asyncio.wait([self._at_work])
            if not self._at_work.cancelled() and self._at_work.exception() is None:
                for sealed in self._at_work.result():
                    sealed.part.discard()
        await self._published.discard()
        self._rows.discard()
        self._rejects.discard()

    def _begin(self, work: Callable[[], Iterator[SealedChunk]]) -> None:
        loop = asyncio.get_running_loop()
        self._at_work = loop.run_in_executor(self._workers, lambda: list(work()))

    async def _settle(self) -> None:
        loop = asyncio.get_running_loop()
        while self._at_work is not None:
            began_s = loop.time()
            sealed = await asyncio.shield(self._at_work)
            self.sorting_s += loop.time() - began_s
            self._at_work = None
            for one in sealed:
                await self._published.add(one)
            self._tell()
            if self._pieces is not None:
                self._watch(self)
                self._begin(self._land_piece)

    def _tell(self) -> None:
        told, sorter = self._progress, self._sorter
        told.rows, told.rejected_rows, told.blank_lines = sorter.rows, sorter.rejected_rows, sorter.blank_lines
        told.served_lines = sorter.served_lines
        chunks = [chunk for chunk in self._published.chunks if not _is_rejects(chunk)]
        told.stored_bytes = sum(chunk.stored_bytes for chunk in chunks)
        told.chunks = len(chunks)

    def _land_piece(self) -> Iterator[SealedChunk]:
        decoded = None if self._pieces is None or self._sorter.capped else next(self._pieces, None)
        if decoded is None:
            self._pieces = None
            return
        for start in range(0, len(decoded), _SORTED_AT_ONCE_BYTES):
            piece = decoded[start : start + _SORTED_AT_ONCE_BYTES]
            yield from self._store(self._sorter.feed(self._splitter.feed(piece)))

    def _conclude(self) -> Iterator[SealedChunk]:
        if self._sorter.capped:
            yield from self._store(self._sorter.finish(b""))
        else:
            self._decoder.finish()
            yield from self._store(self._sorter.finish(self._splitter.finish()))
        yield from self._rows.close()
        yield from self._rejects.close()

    def _store(self, lines: Sorted) -> Iterator[SealedChunk]:
        self._progress.raw_bytes += sum(map(len, lines.rows)) + len(lines.rows)
        yield from self._rows.write(lines.rows)
        if lines.rejects:
            yield from self._rejects.write([msgspec.json.encode(reject) for reject in lines.rejects])


def _is_rejects(chunk: Chunk) -> bool:
    return chunk.path.rpartition("/")[2].startswith("rejects-")
