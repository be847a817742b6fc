"""Which seconds count against a stream: those without a whole row that went into waiting for it or sorting it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from service.errors import UpstreamError
from service.snapshot.watchdog import RowWatchdog

LIMIT_S = 10.0


@dataclass
class Sorted:
    rows: int = 0
    sorting_s: float = 0.0


@dataclass
class Quick:
    """A body of pieces of three bytes that never lets anybody wait."""

    left: int
    content_encoding: str = ""
    unproven: bool = False

    async def read(self) -> bytes:
        piece = b"x" * min(self.left, 3)
        self.left -= len(piece)
        return piece


def test_sorting_without_a_row_counts() -> None:
    watchdog = RowWatchdog(LIMIT_S)
    watchdog.check(Sorted(sorting_s=9.9))
    with pytest.raises(UpstreamError, match="row 1") as caught:
        watchdog.check(Sorted(sorting_s=10.0))
    assert caught.value.code == "STREAM_STALLED"


def test_a_row_starts_the_count_anew() -> None:
    watchdog = RowWatchdog(LIMIT_S)
    for rows in range(1, 50):
        watchdog.check(Sorted(rows, sorting_s=9.0 * rows))
    with pytest.raises(UpstreamError, match="row 50"):
        watchdog.check(Sorted(49, sorting_s=9.0 * 49 + LIMIT_S))


async def test_a_block_is_filled_by_whole_pieces() -> None:
    watchdog, body = RowWatchdog(LIMIT_S), Quick(left=25)
    blocks = [await watchdog.block(body, 10, Sorted()) for _ in range(4)]
    assert [[len(piece) for piece in block] for block in blocks] == [[3, 3, 3, 3], [3, 3, 3, 3], [1], []]
