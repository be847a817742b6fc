"""Bytes → whole lines. Pure: fed with pieces of any size, it gives the same lines wherever the pieces were cut."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

BOM = b"\xef\xbb\xbf"
BLANK = b" \t\r"


@dataclass(frozen=True, slots=True)
class LongLine:
    """A line above the limit: what is left of it, since it was never held in memory.

    `first` and `last` are its outermost bytes that are not blank; they tell markup and arrays from rows.
    """

    length: int
    sha256: str
    first: bytes = b""
    last: bytes = b""


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

    The stream's leading BOM belongs to no line. A line longer than `line_bytes_max` comes out as a `LongLine`, and no
    more than that many bytes (and the piece just fed) are held.
    """

    def __init__(self, line_bytes_max: int) -> None:
        self._line_bytes_max = line_bytes_max
        self._begun = False
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._long: _Measure | None = None

    def feed(self, data: bytes) -> list[bytes | LongLine]:
        r"""The lines that end in `data`, without their ``\n``."""
        if not self._begun:
            data = self._without_bom(data)
        end = data.rfind(b"\n")
        if end < 0:
            self._hold(data)
            return []
        rest = data[end + 1 :]
        lines: list[bytes | LongLine] = []
        if self._held_bytes:
            first_end = data.find(b"\n")
            self._hold(data[:first_end])
            lines.append(self._take_held())
            if first_end == end:
                self._hold(rest)
                return lines
            data = data[first_end + 1 : end]
        else:
            data = data[:end]
        whole = data.split(b"\n")
        if len(data) > self._line_bytes_max:
            lines += [self._measured(line) for line in whole]
        else:
            lines += whole
        self._hold(rest)
        return lines

    def finish(self) -> bytes | LongLine:
        r"""What came after the last ``\n``: the torn tail, or a last line that simply lacks its newline."""
        return self._take_held()

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

    def _measured(self, line: bytes) -> bytes | LongLine:
        if len(line) <= self._line_bytes_max:
            return line
        long = _Measure()
        long.add(line)
        return long.line()
