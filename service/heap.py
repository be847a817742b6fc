"""What the C library keeps of a process's memory."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Return to the system what was freed, if the C library can (glibc's `malloc_trim`, some milliseconds).

    It would keep what a stream's blocks took, 10 to 25 MiB, until the next run comes (docs/decisions/0030).
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
