"""Says of most rows, many at once, that they are rows. Pure.

`service.snapshot.rows.flaw_of` decides what a row is; it looks at each line several times. Nearly all lines are sound,
and simdjson proves syntax, UTF-8 and depth in one pass over many (docs/decisions/0019, 0022): only what it does not
vouch for is looked at with care.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import simdjson
import stringzilla

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Parsed at once: the way through the arrays around the rows is as long for few as for many (docs/decisions/0028).
_WINDOW_BYTES: Final = 3 << 16
# simdjson needs some ten times a text's length beside it, and holds the interpreter meanwhile.
_LINE_BYTES_MAX: Final = 1 << 18
_STRETCH_BYTES_MAX: Final = 1 << 19
_BRACKETS: Final = b"{["
_count = cast("Callable[[bytes | memoryview, bytes], int]", stringzilla.count)  # pyright: ignore[reportUnknownMemberType]
_count_of_any = cast("Callable[[bytes, bytes], int]", stringzilla.count_byteset)  # pyright: ignore[reportUnknownMemberType]


@dataclass(frozen=True, slots=True)
class Rows:
    r"""Several rows as they came, each with its ``\n``."""

    data: bytes
    count: int

    def last(self) -> Rows:
        """The last of them; a single one is not copied."""
        return Rows(self.data[self.data.rfind(b"\n", 0, -1) + 1 :], 1)


def brackets_of(line: bytes) -> int:
    """How many brackets and braces are opened, those in strings too."""
    return _count_of_any(line, _BRACKETS)


def deepest(takes: Callable[[int], bool]) -> int:
    """How many levels a parser takes, by asking it."""
    depth = 1
    while takes(2 * depth):
        depth *= 2
    step = depth
    while step := step // 2:
        if takes(depth + step):
            depth += step
    return depth


class QuickCheck:
    """One stream's checker: its parser's memory is used again, so it belongs to one thread at a time."""

    def __init__(self, row_bytes_max: int, depth_max: int) -> None:
        self._line_bytes_max = min(row_bytes_max, _LINE_BYTES_MAX)
        self._stretch_bytes_max = min(row_bytes_max, _STRETCH_BYTES_MAX)
        self._depth_max = depth_max
        # Each level needs an opening and a closing byte.
        self._shallow_bytes = 2 * depth_max
        self._parse = cast("Callable[[bytes], Any]", simdjson.Parser().parse)
        # Its memory grown with each document that is a little longer than the ones before would leave holes: 3 MiB.
        self._parse(b"0" + b" " * (_WINDOW_BYTES + _WINDOW_BYTES // 4))
        # Nobody who writes rows can know this name.
        self._name = secrets.token_hex(8)
        # So deep inside arrays that a row above `depth_max` is too deep for simdjson itself.
        around = max(0, deepest(self._takes) - depth_max - 1)
        self._inside = "/0" * around
        self._before = b'%b{"%b":' % (b"[" * around, self._name.encode())
        self._between = b',"%b":' % self._name.encode()
        self._after = b"0}" + b"]" * around

    def sifted(self, lines: bytes) -> Iterator[Rows | bytes]:
        r"""Whole lines in their order: as `Rows` those that are vouched for together, as they came the others."""
        view = memoryview(lines)
        count = begin = start = 0
        while start < len(lines):
            stop = lines.rfind(b"\n", start, start + _WINDOW_BYTES) + 1 or lines.find(b"\n", start) + 1
            if rows := self.rows_in(view[start:stop]):
                count += rows
            else:
                if count:
                    yield Rows(lines[begin:start], count)
                yield lines[start:stop]
                count, begin = 0, stop
            start = stop
        if count:
            yield Rows(lines[begin:], count)

    def rows_in(self, lines: bytes | memoryview) -> int:
        r"""How many rows these are when each line (with its ``\n``) is one as it stands; 0 says nothing about them.

        They are parsed as one document, in which every ``\n`` has become the name of a member that nobody can guess: if
        all its members have that name, and as many as there are lines, then each line is one value and none reaches
        into the next. That the values are objects without blanks around them is seen by their first and last bytes.
        """
        if len(lines) > self._stretch_bytes_max or lines[:1] != b"{" or lines[-2:] != b"}\n":
            return 0
        count = _count(lines, b"}\n{") + 1
        # Of very short lines the document would be a multiple.
        if count * len(self._between) > len(lines):
            return 0
        document = b"".join((self._before, lines, self._after)).replace(b"\n", self._between)
        grown_bytes = len(document) - len(self._before) - len(lines) - len(self._after)
        # Each line has made it grow, also a blank or a torn one: a window of blank ones to 4 MiB, before it is refused.
        if grown_bytes != count * (len(self._between) - 1):
            return 0
        try:
            names: list[str] = list(self._parse(document).at_pointer(self._inside).keys())
        except (ValueError, RuntimeError):
            return 0
        return count if len(names) == count + 1 and set(names) == {self._name} else 0

    def vouches_for(self, line: bytes) -> bool:
        r"""Whether `line` (without ``\n``) is a row as it stands; False says nothing about it.

        simdjson would take a byte order mark or blanks before the object, and a carriage return behind it; numbers
        beyond 64 bits, lone surrogates and lines with many brackets are legal and not vouched for.
        """
        if len(line) > self._line_bytes_max or not (line.startswith(b"{") and line.endswith(b"}")):
            return False
        try:
            self._parse(line)
        except (ValueError, RuntimeError):
            return False
        return len(line) <= self._shallow_bytes or brackets_of(line) <= self._depth_max

    def _takes(self, depth: int) -> bool:
        try:
            self._parse(b"[" * depth + b"]" * depth)
        except (ValueError, RuntimeError):
            return False
        return True
