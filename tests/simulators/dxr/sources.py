"""Where rows come from: the protocol of a source, sources one after another, and reading a source piece by piece."""

from collections.abc import Iterator
from typing import Protocol

BLOCK_BYTES = 192 * 1024


class Source(Protocol):
    """Files of a tenant; every call of `blocks` starts the stream anew."""

    @property
    def count(self) -> int | None:
        """How many rows there are, or None while nobody knows."""
        ...

    def blocks(self) -> Iterator[bytes]:
        r"""Yield whole lines ending in `\n`, some 64 to 256 KiB at a time, made only when asked for."""
        ...


class Together:
    """The rows of several sources, one source after another."""

    def __init__(self, *sources: Source) -> None:
        self._sources = sources

    @property
    def count(self) -> int | None:
        """The sum, unless one of the sources does not know."""
        counts = [source.count for source in self._sources]
        return None if None in counts else sum(count for count in counts if count is not None)

    def blocks(self) -> Iterator[bytes]:
        """Yield each source's blocks in turn."""
        for source in self._sources:
            yield from source.blocks()


class RowBlocks:
    """One stream being read: the next n lines, the next n bytes or the rest, always from where the last call ended."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._pending = b""

    def take_rows(self, limit: int) -> Iterator[bytes]:
        """Yield the next `limit` lines, in blocks."""
        while limit > 0 and (block := self._next()) is not None:
            lines = block.count(b"\n")
            if lines > limit:
                head = _first_lines(block, limit)
                self._pending = block[len(head) :]
                block, lines = head, limit
            limit -= lines
            yield block

    def take_bytes(self, limit: int) -> Iterator[bytes]:
        """Yield the next `limit` bytes, wherever in a line that ends."""
        while limit > 0 and (block := self._next()) is not None:
            self._pending = block[limit:]
            block = block[:limit]
            limit -= len(block)
            yield block

    def take_rest(self) -> Iterator[bytes]:
        """Yield all that is left."""
        while (block := self._next()) is not None:
            yield block

    def _next(self) -> bytes | None:
        if self._pending:
            block, self._pending = self._pending, b""
            return block
        return next(self._blocks, None)


def _first_lines(block: bytes, count: int) -> bytes:
    end = 0
    for _ in range(count):
        end = block.index(b"\n", end) + 1
    return block[:end]
