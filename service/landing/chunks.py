"""Lines → gzip parts of bounded size, with the figures that a commit names. Runs in a worker thread."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from isal import isal_zlib

from service.landing import layout
from service.landing.documents import Chunk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.landing.port import Landing, Part

# isal's level 1 gives ratio 6 at ten times zlib-6's speed (docs/decisions/0006).
_LEVEL: Final = 1
_WINDOW_BYTES: Final = 1 << 15
# Each block has a table of codes of its own, so small ones compress badly; a big one needs a big buffer.
_BLOCK_BYTES_MIN: Final = 1 << 18
_BLOCK_BYTES_MAX: Final = 1 << 21
# Each of hashing and writing has to wait for the interpreter afterwards: not after every block.
_STORED_BYTES_MIN: Final = 1 << 19
# Bytes that do not compress take a little more than they were.
_BUFFER_BYTES: Final = _BLOCK_BYTES_MAX + _BLOCK_BYTES_MAX // 10
# RFC 1952: deflate, no name, no time, system unknown.
_HEAD: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LAST_BLOCK: Final = b"\x03\x00"


@dataclass(frozen=True, slots=True)
class SealedChunk:
    """A whole chunk without a name; publishing makes it durable and gives it the name that a commit may use."""

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


class _Member:
    """A gzip member, written block by block.

    A compress object's buffer begins small: of each MiB it comes back five times for a bigger one, and waits each time
    for whoever has the interpreter. Here a block is one call, which needs no more room (docs/decisions/0024).
    """

    def __init__(self) -> None:
        # Its types are known; only its name says that it is for isal itself.
        self._compressor = isal_zlib._ParallelCompress(_BUFFER_BYTES, _LEVEL)  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
        self._before = b""
        self._crc = 0
        self._raw_bytes = 0

    def block(self, data: memoryview) -> bytes:
        """So much compressed, up to a whole byte."""
        compressed, crc = self._compressor.compress_and_crc(data, self._before)  # pyright: ignore[reportUnknownMemberType]
        self._crc = isal_zlib.crc32_combine(self._crc, crc, len(data))
        self._before = bytes(data[-_WINDOW_BYTES:])
        head = b"" if self._raw_bytes else _HEAD
        self._raw_bytes += len(data)
        return head + compressed

    def end(self) -> bytes:
        """What makes it whole."""
        return _LAST_BLOCK + struct.pack("<II", self._crc, self._raw_bytes & 0xFFFFFFFF)


class _OpenChunk:
    def __init__(self, part: Part) -> None:
        self.part = part
        self.raw_bytes = 0
        self._rows = 0
        self._stored_bytes = 0
        self._sha256 = hashlib.sha256()
        self._gzip = _Member()
        self._raw: list[bytes] = []
        self._raw_waiting_bytes = 0
        self._compressed: list[bytes] = []

    def write(self, lines: bytes, count: int) -> None:
        if len(lines) >= _BLOCK_BYTES_MIN:  # it is not copied to be joined to what waits
            self._compress()
        self._rows += count
        self.raw_bytes += len(lines)
        self._raw.append(lines)
        self._raw_waiting_bytes += len(lines)
        if self._raw_waiting_bytes >= _BLOCK_BYTES_MIN:
            self._compress()
            if sum(map(len, self._compressed)) >= _STORED_BYTES_MIN:
                self._store()

    def seal(self) -> SealedChunk:
        self._compress()
        self._compressed.append(self._gzip.end())
        self._store()
        chunk = Chunk(self.part.path, self._rows, self.raw_bytes, self._stored_bytes, self._sha256.hexdigest())
        return SealedChunk(chunk, self.part)

    def _compress(self) -> None:
        lines = memoryview(b"".join(self._raw))
        self._raw, self._raw_waiting_bytes = [], 0
        for start in range(0, len(lines), _BLOCK_BYTES_MAX):
            self._compressed.append(self._gzip.block(lines[start : start + _BLOCK_BYTES_MAX]))

    def _store(self) -> None:
        data = b"".join(self._compressed)
        self._compressed = []
        self._sha256.update(data)
        self._stored_bytes += len(data)
        self.part.write(data)
