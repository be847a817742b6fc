"""Lines that are no rows, mixed into the rows of another source at known intervals."""

import random
from collections.abc import Callable, Iterator

from tests.simulators.dxr.sources import Source

# Each makes a line out of the row before it.
KINDS: dict[str, Callable[[bytes], bytes]] = {
    "not JSON": lambda row: b"<!-- upstream timed out -->",
    "two objects": lambda row: row + b" " + row,
    "cut object": lambda row: row[: len(row) * 2 // 3],
    "scalar": lambda row: b"42",
    "array": lambda row: b"[" + row + b"]",
    "invalid UTF-8": lambda row: b'{"fileId":"\xc3\x28\xff","size":1}',
    "NaN": lambda row: b'{"fileId":"not-a-number","size":NaN}',
    "control character": lambda row: b'{"fileId":"bell\x07","size":1}',
}


class BadLines:
    """The rows of `source`, with about one line that is no row, and as many empty lines, per `every` rows.

    The kinds take turns in the order of `kinds`. `bad_lines` and `blank_lines` count what the latest stream has put in
    so far, so that served lines = rows + bad lines + blank lines.
    """

    kinds = tuple(KINDS)

    def __init__(self, source: Source, every: int = 1000, seed: int = 0) -> None:
        self.bad_lines = 0
        self.blank_lines = 0
        self._source = source
        self._every = every
        self._seed = seed

    @property
    def count(self) -> int | None:
        """How many rows there are between the bad lines."""
        return self._source.count

    def blocks(self) -> Iterator[bytes]:
        """Yield the source's blocks; only one that gets a bad line is taken apart."""
        self.bad_lines = self.blank_lines = 0
        gaps = random.Random(self._seed)
        wait = self._gap(gaps)
        for block in self._source.blocks():
            rows = block.count(b"\n")
            if rows < wait:
                wait -= rows
                yield block
                continue
            lines = list[bytes]()
            for row in block.split(b"\n")[:-1]:
                lines.append(row)
                wait -= 1
                if wait == 0:
                    lines += KINDS[self.kinds[self.bad_lines % len(self.kinds)]](row), b""
                    self.bad_lines += 1
                    self.blank_lines += 1
                    wait = self._gap(gaps)
            yield b"\n".join((*lines, b""))

    def _gap(self, gaps: random.Random) -> int:
        return gaps.randint(max(1, self._every // 2), max(1, self._every * 3 // 2))
