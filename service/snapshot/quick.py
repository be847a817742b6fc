"""Says of most rows in one pass that they are rows. Pure.

`service.snapshot.rows.flaw_of` decides what a row is; it looks at a line several times. Nearly all lines are sound, and
simdjson proves syntax and UTF-8 at once (docs/decisions/0019): only what it does not vouch for is looked at with care.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import simdjson
import stringzilla

if TYPE_CHECKING:
    from collections.abc import Callable

# simdjson needs some ten times a line's length beside it, and holds the interpreter meanwhile.
_LINE_BYTES_MAX: Final = 1 << 18
_BRACKETS: Final = b"{["
_count_of_any = cast("Callable[[bytes, bytes], int]", stringzilla.count_byteset)  # pyright: ignore[reportUnknownMemberType]


class QuickCheck:
    """One stream's checker: its parser's memory is used again for every line, so it belongs to one thread at a time."""

    def __init__(self, row_bytes_max: int, depth_max: int) -> None:
        self._line_bytes_max = min(row_bytes_max, _LINE_BYTES_MAX)
        self._depth_max = depth_max
        # Each level needs an opening and a closing byte.
        self._shallow_bytes = 2 * depth_max
        self._parse = simdjson.Parser().parse

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
        return len(line) <= self._shallow_bytes or _count_of_any(line, _BRACKETS) <= self._depth_max
