"""Publishing beside the stream that fills the next part, and publishing that a cancel cannot leave half done."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.landing.chunks import SealedChunk
    from service.landing.documents import Chunk
    from service.landing.port import Landing

# One on its way while the next one fills.
_PARTS_AT_ONCE_MAX: Final = 2


class PartPublisher:
    """Publishes sealed parts in the background, a bounded number at a time."""

    def __init__(self, landing: Landing) -> None:
        self._landing = landing
        self._chunks: list[Chunk] = []
        self._under_way: dict[asyncio.Task[None], SealedChunk] = {}

    @property
    def chunks(self) -> Sequence[Chunk]:
        """What is published so far, in any order."""
        return self._chunks

    async def add(self, sealed: SealedChunk) -> None:
        """Begin to publish it, once there is room. Raises what an earlier one failed with."""
        await self._until_at_most(_PARTS_AT_ONCE_MAX - 1)
        publishing = self._landing.publish(sealed.part, sealed.chunk.stored_bytes)
        self._under_way[asyncio.ensure_future(publishing)] = sealed

    async def finish(self) -> list[Chunk]:
        """Every chunk in the order of its name, once all are published. Raises what one failed with."""
        await self._until_at_most(0)
        return sorted(self._chunks, key=lambda chunk: (len(chunk.path), chunk.path))

    async def discard(self) -> None:
        """Give up what is not published yet; what is published nothing refers to."""
        for task in self._under_way:
            task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way)
        for sealed in self._under_way.values():
            sealed.part.discard()
        for task in self._under_way:
            if not task.cancelled():
                task.exception()  # looked at, so that nobody is told of it a second time
        self._under_way.clear()

    async def _until_at_most(self, count: int) -> None:
        while len(self._under_way) > count:
            done, _ = await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
                self._chunks.append(self._under_way.pop(task).chunk)


async def put_whole(landing: Landing, path: str, content: bytes) -> None:
    """`put_new` to its end, even when the caller is cancelled meanwhile: the outcome must not stay open."""
    put = asyncio.ensure_future(landing.put_new(path, content))
    try:
        await asyncio.shield(put)
    except asyncio.CancelledError:
        await asyncio.wait([put])
        raise
