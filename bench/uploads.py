"""Uploads of files: this service's way against the client that this project replaces, to a tenant that only drains."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

from bench.processes import started
from bench.results import judged, sized, spread
from bench.senders import SENDERS

if TYPE_CHECKING:
    from rich.console import Console

ROUNDS: Final = sized(7, 1)
JOBS: Final = sized(20, 1)
JOB_BYTES: Final = sized(30_000_000, 2_000_000)
FILE_BYTES: Final = (1_000_000, 50_000)  # the first one is judged
RATIO_MAX: Final = 0.5


async def measure(say: Console) -> dict[str, Any]:
    """CPU a GB of jobs of 30 MB, in turn."""
    results: dict[str, dict[str, list[dict[str, float]]]] = {}
    with tempfile.TemporaryDirectory(prefix="dxr-bench-") as name:
        async with started("sink", Path(name), sys.executable, "-m", "bench.sink") as (address, _):
            for file_bytes in FILE_BYTES:
                folder = planted(Path(name) / f"{file_bytes}", file_bytes)
                costs = results[f"{JOB_BYTES // file_bytes} files of {file_bytes // 1000} kB"] = {}
                for number in range(ROUNDS):
                    for sender in SENDERS:
                        with say.status(f"{sender}, {folder.name} bytes a file, round {number + 1} of {ROUNDS}"):
                            costs.setdefault(sender, []).append(sent(sender, folder, address))
    table = Table("a job of", "sent by", "CPU s/GB", "MB/s", "peak MiB", box=None)
    for what, costs in results.items():
        for sender, found in costs.items():
            peak = max(cost["peak_mib"] for cost in found)
            speed = [cost["bytes"] / 1e6 / cost["wall_s"] for cost in found]
            table.add_row(what, sender, spread(per_gb(found), 2), spread(speed, 0), f"{peak:.0f}")
    say.print(table)
    ratios = {
        what: statistics.median(per_gb(costs["ours"])) / statistics.median(per_gb(costs["requests"]))
        for what, costs in results.items()
    }
    say.print(", ".join(f"{what}: {ratio:.2f} x the CPU of requests" for what, ratio in ratios.items()))
    first = next(iter(ratios))
    verdict = judged(say, {f"uploads at most {RATIO_MAX} x the CPU of requests ({first})": ratios[first] <= RATIO_MAX})
    return {"figures": results, "ratios": ratios, **verdict}


def per_gb(costs: list[dict[str, float]]) -> list[float]:
    return [cost["cpu_s"] * 1e9 / cost["bytes"] for cost in costs]


def planted(folder: Path, file_bytes: int) -> Path:
    folder.mkdir()
    dice = random.Random(file_bytes)
    for number in range(JOB_BYTES // file_bytes):
        (folder / f"file-{number}.bin").write_bytes(dice.randbytes(file_bytes))
    return folder


def sent(sender: str, folder: Path, address: str) -> dict[str, float]:
    command = (sys.executable, "-m", "bench.senders", sender, str(folder), address, str(JOBS))
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
