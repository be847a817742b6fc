"""The results of many jobs in shared chunks, so that a million files do not make as many tiny ones."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from service.landing.chunks import ChunkWriter, SealedChunk
from service.landing.publish import PartPublisher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor

    from service.landing.documents import Chunk
    from service.landing.port import Landing


class RecordWriter:
    """Takes records from all lanes, one caller at a time, and publishes each chunk as it fills."""

    def __init__(self, landing: Landing, folder: str, chunk_bytes_max: int, workers: Executor) -> None:
        self._workers = workers
        self._writer = ChunkWriter(landing, folder, "part", chunk_bytes_max)
        self._published = PartPublisher(landing)
        self._alone = asyncio.Lock()

    async def add(self, records: list[dict[str, Any]]) -> str | None:
        """Append records; the chunk that took the last one. Raises `LandingError`."""
        if records:
            await self._work(lambda: self._writer.write([msgspec.json.encode(record) for record in records]))
        return self._writer.open_path

    async def close(self) -> list[Chunk]:
        """Seal and publish what is open; every chunk of the run."""
        await self._work(self._writer.close)
        return await self._published.finish()

    async def discard(self) -> None:
        """Forget what is not published; what is published nothing refers to."""
        async with self._alone:
            await self._published.discard()
            self._writer.discard()

    async def _work(self, work: Callable[[], Iterator[SealedChunk]]) -> None:
        async with self._alone:
            done = asyncio.get_running_loop().run_in_executor(self._workers, lambda: list(work()))
            try:
                sealed = await asyncio.shield(done)
            except asyncio.CancelledError:
                await asyncio.wait([done])
                raise
            for one in sealed:
                await self._published.add(one)
