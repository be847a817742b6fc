"""The service's memory while it lands a million rows, and while it lands four times as many."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from bench.processes import carried_out, cpu_s, fresh_service, peak_mib

if TYPE_CHECKING:
    from rich.console import Console

ROWS = (1_000_000, 4_000_000)
PEAK_MIB_MAX = 200
GROWTH_MIB_MAX = 25


async def measure(say: Console) -> dict[str, Any]:
    """Peak memory and CPU per GB of a service that did nothing before, for each number of rows."""
    table = Table("rows", "GB", "idle MiB", "peak MiB", "CPU s/GB (service)", "MB/s", box=None)
    runs: list[dict[str, Any]] = []
    for rows in ROWS:
        with say.status(f"landing {rows:,} rows"):
            run = await landed(rows)
        runs.append(run)
        gb = run["raw_bytes"] / 1e9
        table.add_row(
            f"{rows:,}",
            f"{gb:.2f}",
            f"{run['idle_mib']}",
            f"{run['peak_mib']}",
            f"{run['cpu_s'] / gb:.2f}",
            f"{run['raw_bytes'] / 1e6 / run['wall_s']:.0f}",
        )
    say.print(table)
    small, large = (run["peak_mib"] for run in runs)
    passed = max(small, large) < PEAK_MIB_MAX and large - small <= GROWTH_MIB_MAX
    say.print(f"peak below {PEAK_MIB_MAX} MiB, and at most {GROWTH_MIB_MAX} MiB more for four times the rows: {passed}")
    return {"runs": runs, "passed": passed}


async def landed(rows: int) -> dict[str, Any]:
    """One snapshot through a fresh service from a tenant in a process of its own."""
    folder = Path(tempfile.mkdtemp(prefix="dxr-bench-"))
    try:
        async with fresh_service(folder, rows, "--seed", "1") as (address, process):
            return await snapshot(address, process.pid)
    finally:
        shutil.rmtree(folder)


async def snapshot(address: str, pid: int) -> dict[str, Any]:
    idle_mib, cpu_before_s = peak_mib(pid), cpu_s(pid)
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    run = await carried_out(address, "/v1/snapshots")
    return {
        "rows": run["counts"]["rows"],
        "raw_bytes": run["counts"]["raw_bytes"],
        "idle_mib": idle_mib,
        "peak_mib": peak_mib(pid),
        "cpu_s": cpu_s(pid) - cpu_before_s,
        "wall_s": loop.time() - began_s,
    }
