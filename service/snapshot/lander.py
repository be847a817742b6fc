"""One attempt's way from blocks of bytes to published chunks: decode, split, prove, sort, compress."""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from service.dxr.inflate import decoder_for
from service.landing.chunks import ChunkWriter, SealedChunk
from service.landing.publish import PartPublisher
from service.snapshot.lines import LineSplitter
from service.snapshot.quick import QuickCheck
from service.snapshot.rows import DEPTH_MAX, RowSorter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor

    from service.landing.documents import Chunk
    from service.landing.port import Landing
    from service.snapshot.progress import Progress
    from service.snapshot.rows import Counts, Lines, Sorted

# Each block is handed to another thread, which waits for the interpreter when it comes back (docs/decisions/0028).
BLOCK_BYTES: Final = 1 << 20


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


@dataclass(frozen=True, slots=True)
class Landed:
    """What a piece of work of the thread led to."""

    sealed: list[SealedChunk]
    counts: Counts
    capped: bool
    sorting_s: float


class RowLander:
    """Takes blocks as they come, proves most of their rows at once and has a thread land them.

    Proving holds the interpreter wherever it is done and takes one to two milliseconds a block: it is done on the event
    loop, while the bytes are in its core's cache. Compressing and storing leave the interpreter alone: they are done by
    the thread, and so is all that may take long, which is to inflate, and to sort lines that are not proven
    (docs/decisions/0024, 0028). At most one block waits while another one is landed; one part per kind is open and two
    are being published: memory does not grow with the stream. A compressed block may grow a thousandfold: `watch` is
    called between its pieces and may raise. `sorting_s` adds up the seconds in which bytes were proven and sorted, and
    not those in which they were stored or published.
    """

    def __init__(
        self,
        landing: Landing,
        folder: str,
        limits: Limits,
        *,
        content_encoding: str,
        record_cap: int | None,
        thread: Executor,
        progress: Progress,
        watch: Callable[[RowLander], None],
    ) -> None:
        self._thread = thread
        self._progress = progress
        self._watch = watch
        self._now_s = asyncio.get_running_loop().time
        self._decoder = decoder_for(content_encoding)
        self._inflated: Iterator[bytes] | None = None
        self.rows = 0
        self.capped = False
        self.sorting_s = 0.0
        # One byte more than a row may have, for the carriage return that is not part of it.
        self._splitter = LineSplitter(limits.row_bytes_max + 1)
        self._quick = QuickCheck(limits.row_bytes_max, DEPTH_MAX)
        self._sorter = RowSorter(limits.row_bytes_max, record_cap)
        self._rows = ChunkWriter(landing, folder, "part", limits.chunk_bytes_max)
        self._rejects = ChunkWriter(landing, folder, "rejects", limits.chunk_bytes_max)
        self._published = PartPublisher(landing)
        self._under_way: list[asyncio.Future[Landed]] = []

    async def feed(self, block: list[bytes]) -> None:
        """Take a block over, so that it is empty afterwards.

        A small one is waited for, so that its rows count at once, and so are the first ones, which tell what this is.
        """
        block_bytes = sum(map(len, block))
        self._progress.wire_bytes += block_bytes
        if self._decoder.inflates:
            self._inflated = (piece for wire in block for piece in self._decoder.feed(wire))
            while self._inflated and not self.capped:
                self._watch(self)
                self._begin(self._land_inflated)
                await self._until_landed()
            return
        began_s = self._now_s()
        lines = deque(self._proven(block))
        block.clear()
        self.sorting_s += self._now_s() - began_s
        await self._until_landed(but=1)
        self._begin(lambda: self._land(_popped(lines)))
        if block_bytes < BLOCK_BYTES or not self.rows:
            await self._until_landed()

    async def finish(self) -> Contents:
        """Judge the whole answer, seal and publish what is open. Raises `UpstreamError` when it is not whole."""
        await self._until_landed()
        self._begin(self._judge)
        await self._until_landed()
        chunks = await self._published.finish()
        self._tell_chunks()
        return Contents([chunk for chunk in chunks if not _is_rejects(chunk)], list(filter(_is_rejects, chunks)))

    async def discard(self) -> None:
        """Forget what is not published; what is published nothing refers to."""
        if self._under_way:
            await asyncio.wait(self._under_way)
        await self._published.discard()
        for landed in self._under_way:
            if not landed.cancelled() and landed.exception() is None:
                for sealed in landed.result().sealed:
                    sealed.part.discard()
        self._rows.discard()
        self._rejects.discard()

    def _begin(self, work: Callable[[], Landed]) -> None:
        self._under_way.append(asyncio.get_running_loop().run_in_executor(self._thread, work))

    async def _until_landed(self, but: int = 0) -> None:
        """All blocks so far, `but` the last ones, are in parts, and the full ones are on their way."""
        while len(self._under_way) > but:
            landed = await asyncio.shield(self._under_way[0])
            self._tell_rows(landed)
            for sealed in landed.sealed:
                await self._published.add(sealed)
                self._tell_chunks()
            del self._under_way[0]  # not before: what is not added is still to be discarded

    def _tell_rows(self, landed: Landed) -> None:
        told, counts = self._progress, landed.counts
        self.rows, self.capped = counts.rows, landed.capped
        self.sorting_s += landed.sorting_s
        told.rows, told.rejected_rows, told.blank_lines = counts.rows, counts.rejected_rows, counts.blank_lines
        told.served_lines, told.raw_bytes = counts.served_lines, counts.raw_bytes

    def _tell_chunks(self) -> None:
        chunks = [chunk for chunk in self._published.chunks if not _is_rejects(chunk)]
        self._progress.stored_bytes = sum(chunk.stored_bytes for chunk in chunks)
        self._progress.chunks = len(chunks)

    def _proven(self, pieces: list[bytes]) -> Iterator[Lines]:
        for some in self._splitter.feed(pieces):
            if isinstance(some, bytes):
                yield from self._quick.sifted(some)
            else:
                yield some

    def _land_inflated(self) -> Landed:
        """So many pieces as make a block; afterwards `_inflated` is None when there were no more."""
        pieces: list[bytes] = []
        missing = BLOCK_BYTES
        while self._inflated and missing > 0:
            if piece := next(self._inflated, None):
                pieces.append(piece)
                missing -= len(piece)
            else:
                self._inflated = None
        return self._land(self._proven(pieces))

    def _land(self, lines: Iterator[Lines]) -> Landed:
        sealed: list[SealedChunk] = []
        stored_s, began_s = 0.0, self._now_s()
        for some in lines:
            found = self._sorter.feed([some])
            del some  # a line of megabytes is not held beside its row
            sorted_s = self._now_s()
            sealed += self._store(found)
            stored_s += self._now_s() - sorted_s
        return self._landed(sealed, self._now_s() - began_s - stored_s)

    def _judge(self) -> Landed:
        if self._sorter.capped:
            last = self._sorter.finish(b"")
        else:
            self._decoder.finish()
            last = self._sorter.finish(self._splitter.finish())
        return self._landed([*self._store(last), *self._rows.close(), *self._rejects.close()])

    def _landed(self, sealed: list[SealedChunk], sorting_s: float = 0.0) -> Landed:
        return Landed(sealed, copy.copy(self._sorter.counts), self._sorter.capped, sorting_s)

    def _store(self, found: Sorted) -> Iterator[SealedChunk]:
        for rows in found.rows:
            yield from self._rows.write(rows.data, rows.count)
        if found.rejects:
            encoded = [msgspec.json.encode(reject) for reject in found.rejects]
            yield from self._rejects.write(b"\n".join([*encoded, b""]), len(encoded))


def _popped(lines: deque[Lines]) -> Iterator[Lines]:
    while lines:
        yield lines.popleft()


def _is_rejects(chunk: Chunk) -> bool:
    return chunk.path.rpartition("/")[2].startswith("rejects-")
