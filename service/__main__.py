"""The command `dxr-ingest`, also as `python -m service`."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from typing import Final

_M_ARENA_MAX: Final = -8  # of malloc.h


def main() -> None:
    """Run the command line; without the extra `service`, say so."""
    signal.signal(signal.SIGTERM, _end)
    _share_one_heap()
    try:
        from service.cli.main import run
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "service":
            raise
        sys.exit(f"dxr-ingest needs its extra `service` ({error.name} is missing): pip install 'dxr-ingest[service]'")
    run()


def _share_one_heap() -> None:
    """Else glibc gives each thread a heap of its own, which keeps what once passed through it: 9 MiB a stream."""
    with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def _end(number: int, _frame: object) -> None:
    """A container's first process is not ended by a signal that it does not handle; who needs more handles it itself.

    (An exception could be swallowed wherever the signal arrives.)
    """
    os._exit(128 + number)


if __name__ == "__main__":
    main()
