"""Lines → gzip parts of bounded size, with the figures that a commit names. Runs in a worker thread."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, cast

from isal import isal_zlib

from service.landing import layout
from service.landing.documents import Chunk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.landing.port import Landing, Part

# isal's level 1 gives ratio 6 at ten times zlib-6's speed (docs/decisions/0006).
_GZIP_LEVEL: Final = 1
_GZIP_WINDOW: Final = 16 + 15


@dataclass(frozen=True, slots=True)
class SealedChunk:
    """A chunk that is durable under a temporary name; publishing it gives it the name that a commit may use."""

    chunk: Chunk
    part: Part


class ChunkWriter:
    """Writes lines into one part after another; a part never holds more than `chunk_bytes_max` raw bytes.

    The one exception is a part with a single line that is longer.
    """

    def __init__(self, landing: Landing, folder: str, stem: str, chunk_bytes_max: int) -> None:
        self._landing = landing
        self._folder = folder
        self._stem = stem
        self._chunk_bytes_max = chunk_bytes_max
        self._number = 0
        self._open: _OpenChunk | None = None

    @property
    def room_bytes(self) -> int:
        """How much still goes into the part that took the last line; 0 when none is open."""
        return self._chunk_bytes_max - self._open.raw_bytes if self._open else 0

    def write(self, lines: list[bytes]) -> Iterator[SealedChunk]:
        r"""Append lines (without ``\n``); yields the parts that this filled.

        Each part takes what fits, line by line: where a part ends does not depend on how the lines came.
        """
        left_bytes = sum(map(len, lines)) + len(lines)
        while lines:
            room_bytes = self.room_bytes if self._open else self._chunk_bytes_max
            if left_bytes <= room_bytes:
                self._append(lines, left_bytes)
                return
            # A line that is longer than any part gets one of its own.
            count, taken_bytes = _fitting(lines, room_bytes, lines_min=0 if self._open else 1)
            if count:
                self._append(lines[:count], taken_bytes)
                lines, left_bytes = lines[count:], left_bytes - taken_bytes
            yield from self.close()

    def _append(self, lines: list[bytes], lines_bytes: int) -> None:
        if self._open is None:
            name = layout.chunk_name(self._stem, self._number)
            self._open = _OpenChunk(self._landing.new_part(f"{self._folder}/{name}"))
            self._number += 1
        self._open.write(lines, lines_bytes)

    def close(self) -> Iterator[SealedChunk]:
        """Seal the open part, if there is one."""
        if self._open:
            sealed, self._open = self._open.seal(), None
            yield sealed

    def discard(self) -> None:
        """Forget the open part."""
        if self._open:
            self._open.part.discard()
            self._open = None


class _Compressor(Protocol):
    """What zlib's compress objects have; isal's type stubs leave it open."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _OpenChunk:
    def __init__(self, part: Part) -> None:
        self.part = part
        self.raw_bytes = 0
        self._rows = 0
        self._stored_bytes = 0
        self._sha256 = hashlib.sha256()
        self._gzip = cast("_Compressor", isal_zlib.compressobj(_GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP_WINDOW))  # pyright: ignore[reportUnknownMemberType]

    def write(self, lines: list[bytes], raw_bytes: int) -> None:
        self._rows += len(lines)
        self.raw_bytes += raw_bytes
        self._store(self._gzip.compress(b"\n".join([*lines, b""])))

    def seal(self) -> SealedChunk:
        self._store(self._gzip.flush())
        self.part.seal()
        chunk = Chunk(self.part.path, self._rows, self.raw_bytes, self._stored_bytes, self._sha256.hexdigest())
        return SealedChunk(chunk, self.part)

    def _store(self, data: bytes) -> None:
        if data:
            self._sha256.update(data)
            self._stored_bytes += len(data)
            self.part.write(data)


def _fitting(lines: list[bytes], room_bytes: int, *, lines_min: int) -> tuple[int, int]:
    """How many of `lines` fit, and their bytes with their newlines."""
    taken_bytes = 0
    for count, line in enumerate(lines):
        if count >= lines_min and taken_bytes + len(line) + 1 > room_bytes:
            return count, taken_bytes
        taken_bytes += len(line) + 1
    return len(lines), taken_bytes
