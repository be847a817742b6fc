"""Bytes → whole lines. Pure: fed with pieces of any size, it gives the same lines wherever the pieces were cut."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

BOM = b"\xef\xbb\xbf"
BLANK = b" \t\r"
# A line of which more than this is held comes alone.
_APART_BYTES: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class LongLine:
    """A line above the limit: what is left of it, since it was never held in memory.

    `first` and `last` are its outermost bytes that are not blank; they tell markup and arrays from rows.
    """

    length: int
    sha256: str
    first: bytes = b""
    last: bytes = b""


@dataclass(frozen=True, slots=True)
class LoneLine:
    r"""A line of many pieces, without its ``\n``: joined to nothing else, since each copy of it is a large one."""

    data: bytes


class _Measure:
    """Measures a long line that passes by in pieces."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._length = 0
        self._first = self._last = b""

    def add(self, piece: bytes) -> None:
        self._hash.update(piece)
        self._length += len(piece)
        self._first = self._first or piece.lstrip(BLANK)[:1]
        self._last = piece.rstrip(BLANK)[-1:] or self._last

    def line(self) -> LongLine:
        return LongLine(self._length, self._hash.hexdigest(), self._first, self._last)


class LineSplitter:
    r"""Splits a stream at byte ``\n`` alone (U+2028, U+0085 and lone ``\r`` are legal inside a row).

    Whole lines come as they lie: several in one stretch, each with its ``\n``. The stream's leading BOM is part of no
    line. A large line that took several feeds comes out as a `LoneLine`, one longer than `line_bytes_max` as a
    `LongLine`; no more than that many bytes are held, beside the pieces just fed.
    """

    def __init__(self, line_bytes_max: int) -> None:
        self._line_bytes_max = line_bytes_max
        self._apart_bytes = min(_APART_BYTES, line_bytes_max)
        self._begun = False
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._long: _Measure | None = None

    def feed(self, pieces: list[bytes]) -> list[bytes | LoneLine | LongLine]:
        """The lines that end in these pieces of the stream."""
        if not self._begun:
            pieces = [self._without_bom(b"".join(pieces))]
        found: list[bytes | LoneLine | LongLine] = []
        if self._held_bytes > self._apart_bytes:
            pieces = self._end_of_held(pieces, found)
        for number in reversed(range(len(pieces))):
            end = pieces[number].rfind(b"\n") + 1
            if end:
                stretch = b"".join([*self._held, *pieces[:number], memoryview(pieces[number])[:end]])
                self._held, self._held_bytes = [], 0
                found += self._without_long_lines(stretch)
                pieces = [pieces[number][end:], *pieces[number + 1 :]]
                break
        for piece in pieces:
            self._hold(piece)
        return found

    def finish(self) -> bytes | LongLine:
        r"""What came after the last ``\n``: the torn tail, or a last line that simply lacks its newline."""
        return self._take_held()

    def _end_of_held(self, pieces: list[bytes], found: list[bytes | LoneLine | LongLine]) -> list[bytes]:
        """The pieces behind the line that has begun; all of them belong to it when it does not end in them."""
        for number, piece in enumerate(pieces):
            end = piece.find(b"\n")
            if end < 0:
                self._hold(piece)
                continue
            self._hold(piece[:end])
            line = self._take_held()
            found.append(LoneLine(line) if isinstance(line, bytes) else line)
            return [piece[end + 1 :], *pieces[number + 1 :]]
        return []

    def _without_long_lines(self, stretch: bytes) -> Iterator[bytes | LongLine]:
        """What is left when the long lines are taken out and measured; nearly always that is all of it."""
        begin = start = 0
        while len(stretch) - start > self._line_bytes_max + 1:
            end = stretch.rfind(b"\n", start, start + self._line_bytes_max + 1)
            if end < 0:
                if begin < start:
                    yield stretch[begin:start]
                end = stretch.index(b"\n", start)
                self._hold(stretch[start:end])
                yield self._take_held()
                begin = end + 1
            start = end + 1
        if begin < len(stretch):
            yield stretch[begin:]

    def _without_bom(self, data: bytes) -> bytes:
        head = b"".join(self._held) + data
        self._held, self._held_bytes = [], 0
        if len(head) < len(BOM) and BOM.startswith(head):
            self._held, self._held_bytes = [head], len(head)
            return b""
        self._begun = True
        return head.removeprefix(BOM)

    def _hold(self, data: bytes) -> None:
        if not data:
            return
        self._held_bytes += len(data)
        if self._long is not None:
            self._long.add(data)
            return
        self._held.append(data)
        if self._held_bytes > self._line_bytes_max:
            self._long = _Measure()
            for piece in self._held:
                self._long.add(piece)
            self._held = []

    def _take_held(self) -> bytes | LongLine:
        line = b"".join(self._held) if self._long is None else self._long.line()
        self._held, self._held_bytes, self._long = [], 0, None
        return line
