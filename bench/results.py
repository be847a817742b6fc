"""What the parts have in common: their size, the machine they ran on, and what is judged of them."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

FOLDER: Final = Path(".bench")
RESULTS: Final = FOLDER / "results.json"
# For the tests of the bench: everything runs, and no figure means anything.
TINY: Final = bool(os.environ.get("BENCH_TINY"))
IDLE_WATCH_S: Final = 0.1 if TINY else 5.0
IDLE_PERCENT_MAX: Final = 5.0  # of all cores

_T = TypeVar("_T")


def sized(full: _T, tiny: _T) -> _T:
    """The size of a part, or what tests run instead."""
    return tiny if TINY else full


def machine() -> dict[str, Any]:
    """What figures depend on."""
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+) kB", Path("/proc/meminfo").read_text())
    return {
        "cpu": model[1] if model else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory[1]) / 2**20, 1) if memory else None,
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def load() -> float:
    """How many processes wanted a core over the last minute."""
    return round(os.getloadavg()[0], 2)


def is_idle() -> bool:
    """Whether wall time means something: nobody else is at work now, which the load tells too late."""
    return psutil.cpu_percent(IDLE_WATCH_S) < IDLE_PERCENT_MAX


def judged(say: Console, claims: Mapping[str, bool]) -> dict[str, Any]:
    """Each claim with yes or no, and whether all hold."""
    for what, holds in claims.items():
        say.print(f"{'yes' if holds else 'NO '}  {what}", highlight=False)
    return {"judged": dict(claims), "passed": all(claims.values())}


def spread(values: list[float], digits: int) -> str:
    """Median, least and most."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}..{max(values):.{digits}f})"


def saved() -> dict[str, Any]:
    """The results so far, of each part the last ones."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def save(results: Mapping[str, Any]) -> None:
    """Keep them for the chart and the page."""
    FOLDER.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
