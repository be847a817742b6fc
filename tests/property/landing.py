"""A landing in memory, which does what a folder does, in its order; it can be away, and its answers can be lost."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from service.errors import LandingError
from service.landing.port import Stored
from tests.property.virtual import OWNER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from service.clock import Clock
    from service.landing.port import Before, Part


@dataclass
class MemoryPart:
    path: str
    data: bytearray = field(default_factory=bytearray)

    def write(self, data: bytes) -> None:
        self.data += data

    def discard(self) -> None: ...


@dataclass
class MemoryLanding:
    """`linking` is told of every commit that becomes visible, with what `mark` said before the lease was proven.

    `turned_away` is told of everybody who gets no answer.
    """

    clock: Clock
    mark: Callable[[], int]
    linking: Callable[[str, int], None]
    turned_away: Callable[[], None]
    files: dict[str, tuple[bytes, float]] = field(default_factory=dict[str, Any])
    _away_until_s: float = 0.0

    def new_part(self, path: str) -> MemoryPart:
        return MemoryPart(path)

    async def publish(self, part: Part, size_bytes: int) -> None:
        assert isinstance(part, MemoryPart)
        await self._reach("part")
        self.store(part.path, bytes(part.data))

    async def put_new(self, path: str, content: bytes, before: Before | None = None) -> None:
        await self._reach("commit")
        mark = self.mark()
        if before is not None:
            await before()
        await self._reach("commit proven")
        if path not in self.files:
            self.linking(path, mark)
            self.store(path, content)
        elif self.files[path][0] != content:
            raise LandingError("LANDING_CONFLICT", f"{path} exists with other content.")
        await self._reach("commit done")

    async def read(self, path: str) -> bytes | None:
        await self._reach("landing")
        found = self.files.get(path)
        return found[0] if found else None

    async def list(self, folder: str) -> AsyncIterator[Stored]:
        await self._reach("landing")
        for path in sorted(self.files):
            if path in self.files and path.startswith(f"{folder}/"):
                content, modified_at_s = self.files[path]
                yield Stored(path, len(content), modified_at_s)

    async def delete(self, path: str) -> None:
        await self._reach("landing")
        self.files.pop(path, None)

    def be_away(self, seconds: float) -> None:
        self._away_until_s = self.clock.monotonic_s() + seconds

    def store(self, path: str, content: bytes) -> None:
        self.files[path] = (content, self.clock.now().timestamp())

    async def _reach(self, point: str) -> None:
        owner = OWNER.get()
        await asyncio.sleep(owner.latency_s)
        owner.reach(point)
        await asyncio.sleep(0)  # here a life stands still that was frozen just now
        self._answers()

    def _answers(self) -> None:
        owner = OWNER.get()
        if owner.dead or owner.answer_is_lost() or self.clock.monotonic_s() < self._away_until_s:
            self.turned_away()
            raise LandingError("LANDING_UNAVAILABLE", "The landing does not answer.")
