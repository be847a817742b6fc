"""The landing as a claimed run may use it: nothing becomes visible unless the run is still this process's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.landing.port import Before, Landing, Part, Stored
    from service.runs.claims import Claim


@dataclass(frozen=True, slots=True)
class HeldLanding:
    """Asks before every part and every commit; beyond what the landing raises, `LeaseLostError` and `StoreError`."""

    landing: Landing
    claim: Claim

    def new_part(self, path: str) -> Part:
        """Begin a chunk."""
        return self.landing.new_part(path)

    async def publish(self, part: Part, size_bytes: int) -> None:
        """Give a sealed part its name."""
        await self.claim.hold()
        await self.landing.publish(part, size_bytes)

    async def put_new(self, path: str, content: bytes, before: Before | None = None) -> None:
        """Write a commit once; the store knows beforehand which, since a lost answer leaves it open."""

        async def still_ours() -> None:
            await self.claim.hold(publishing=path)
            if before is not None:
                await before()

        await self.landing.put_new(path, content, still_ours)

    async def read(self, path: str) -> bytes | None:
        """The content of a small file; None when there is none."""
        return await self.landing.read(path)

    def list(self, folder: str) -> AsyncIterator[Stored]:
        """Every finished file below `folder`."""
        return self.landing.list(folder)

    async def delete(self, path: str) -> None:
        """Remove a file."""
        await self.landing.delete(path)
