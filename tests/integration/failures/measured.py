"""The command line as it is, in a process of its own that says at its end how much memory it has held at most."""

from __future__ import annotations

import atexit
import os
import re
import resource
import sys
from pathlib import Path


def peak_mib() -> int:
    """Linux counts what a process was forked from into its `ru_maxrss`; the high-water mark is its own."""
    status = Path("/proc/self/status")
    if status.is_file():
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        assert found
        return int(found[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1 << 20)


if __name__ == "__main__":
    from service.__main__ import main

    atexit.register(lambda: Path(os.environ["PEAK_FILE"]).write_text(str(peak_mib())))
    sys.exit(main())
