"""What a run freed is the system's again."""

from __future__ import annotations

import psutil

from service.heap import give_back

MIB = 1 << 20


def test_what_was_freed_between_what_is_kept_goes_back() -> None:
    pieces = [b"x" * 100_000 + number.to_bytes(2) for number in range(1_000)]
    kept = pieces[::2]
    del pieces
    held = psutil.Process().memory_info().rss
    give_back()
    assert psutil.Process().memory_info().rss < held - 30 * MIB
    assert len(kept) == 500
