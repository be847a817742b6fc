"""The results of many jobs in shared chunks, so that a million files do not make as many tiny ones."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec

from service.classification.memory import Told
from service.landing.chunks import ChunkWriter, SealedChunk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Executor

    from service.classification.memory import Memory
    from service.clock import Clock
    from service.landing.documents import Chunk
    from service.landing.port import Landing

# What is in an open chunk is searched again after a take-over: not more than this.
OPEN_S_MAX: Final = 300.0

Entry = tuple[Told, dict[str, Any]]


class RecordWriter:
    """Takes records from all lanes, one caller at a time; publishes and registers each chunk when it is full or old."""

    def __init__(
        self,
        landing: Landing,
        folder: str,
        chunk_bytes_max: int,
        *,
        memory: Memory,
        workers: Executor,
        clock: Clock,
    ) -> None:
        self._landing = landing
        self._memory = memory
        self._workers = workers
        self._clock = clock
        self._writer = ChunkWriter(landing, folder, "part", chunk_bytes_max)
        self._told: list[Told] = []
        self._opened_s = 0.0
        self._alone = asyncio.Lock()

    async def add(self, entries: Sequence[Entry]) -> None:
        """Append records. Raises `LandingError` and what a volume or the memory raises."""
        lines = [msgspec.json.encode(record) + b"\n" for _, record in entries]
        async with self._alone:
            together = sum(map(len, lines)) <= self._writer.room_bytes
            # Else one line at a time: a chunk and the files that it tells of are registered together.
            for start, stop in [(0, len(lines))] if together else [(n, n + 1) for n in range(len(lines))]:
                piece, count = b"".join(lines[start:stop]), stop - start
                await self._publish(await self._work(lambda piece=piece, count=count: self._writer.write(piece, count)))
                if not self._told:
                    self._opened_s = self._clock.monotonic_s()
                self._told += [told for told, _ in entries[start:stop]]

    async def seal_if_old(self) -> None:
        """Publish the open chunk when it has been open for long."""
        if self._told and self._clock.monotonic_s() - self._opened_s >= OPEN_S_MAX:
            await self.seal()

    async def seal(self) -> None:
        """Publish what is open."""
        async with self._alone:
            await self._publish(await self._work(self._writer.close))

    async def close(self) -> list[Chunk]:
        """Publish what is open; every chunk of the run, also of processes before this one."""
        await self.seal()
        return await self._memory.chunks()

    async def discard(self) -> None:
        """Forget what is not published; what is not registered nothing refers to."""
        async with self._alone:
            self._writer.discard()

    async def _work(self, work: Callable[[], Iterator[SealedChunk]]) -> list[SealedChunk]:
        done = asyncio.get_running_loop().run_in_executor(self._workers, lambda: list(work()))
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            await asyncio.wait([done])
            if not done.exception():
                _discard(done.result())
            raise

    async def _publish(self, sealed: list[SealedChunk]) -> None:
        try:
            for one in sealed:
                told, self._told = self._told, []
                await self._landing.publish(one.part, one.chunk.stored_bytes)
                await self._memory.register(one.chunk, told)
        except BaseException:
            _discard(sealed)
            raise


def _discard(sealed: list[SealedChunk]) -> None:
    for one in sealed:
        one.part.discard()
