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

    def write(self, lines: bytes, count: int) -> Iterator[SealedChunk]:
        r"""Append so many lines, each with its ``\n``; yields the parts that this filled.

        Each part takes what fits, line by line: where a part ends does not depend on how the lines came.
        """
        while lines:
            room_bytes = max(0, self.room_bytes) if self._open else self._chunk_bytes_max
            if len(lines) <= room_bytes:
                self._append(lines, count)
                return
            end = lines.rfind(b"\n", 0, room_bytes) + 1
            if not end and self._open is None:
                end = lines.find(b"\n") + 1  # a line that is longer than any part gets one of its own
            if end:
                fitting = lines[:end]
                fitting_count = fitting.count(b"\n")
                self._append(fitting, fitting_count)
                lines, count = lines[end:], count - fitting_count
            yield from self.close()

    def _append(self, lines: bytes, count: int) -> None:
        if self._open is None:
            name = layout.chunk_name(self._stem, self._number)
            self._open = _OpenChunk(self._landing.new_part(f"{self._folder}/{name}"))
            self._number += 1
        self._open.write(lines, count)

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

    def write(self, lines: bytes, count: int) -> None:
        self._rows += count
        self.raw_bytes += len(lines)
        self._store(self._gzip.compress(lines))

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
