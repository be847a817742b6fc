"""The command `dxr-ingest`, also as `python -m service`."""

from __future__ import annotations

import os
import signal
import sys

from service import heap


def main() -> None:
    """Run the command line; without the extra `service`, say so."""
    signal.signal(signal.SIGTERM, _end)
    heap.share_one()
    try:
        from service.cli.main import run
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "service":
            raise
        sys.exit(f"dxr-ingest needs its extra `service` ({error.name} is missing): pip install 'dxr-ingest[service]'")
    run()


def _end(number: int, _frame: object) -> None:
    """A container's first process is not ended by a signal that it does not handle; who needs more handles it itself.

    (An exception could be swallowed wherever the signal arrives.)
    """
    os._exit(128 + number)


if __name__ == "__main__":
    main()
