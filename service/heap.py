"""What the C library keeps of a process's memory. A library that is not glibc is left alone."""

from __future__ import annotations

import contextlib
import ctypes
from typing import Final

_M_ARENA_MAX: Final = -8  # of malloc.h


def share_one() -> None:
    """Else glibc gives each thread a heap of its own, which keeps what once passed through it: 9 MiB a stream."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Return to the system what was freed, in some milliseconds.

    Else glibc keeps what a stream's blocks took, 10 to 25 MiB, until the next run comes (docs/decisions/0030).
    """
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
