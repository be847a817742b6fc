"""The service's memory while it lands a million rows, and while it lands four times as many."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rich.console import Console

ROWS = (1_000_000, 4_000_000)
PEAK_MIB_MAX = 200
GROWTH_MIB_MAX = 25
TOKEN = "the-token-of-the-simulated-tenant"
BIN = Path(sys.prefix) / "bin"


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
    tenant = (sys.executable, "-m", "tests.simulators.dxr", "--rows", str(rows), "--seed", "1", "--token", TOKEN)
    try:
        async with started("tenant", folder, *tenant) as (dxr_url, _):
            variables = {
                "DXR_BASE_URL": dxr_url,
                "DXR_BEARER_TOKEN": TOKEN,
                "LANDING_PATH": str(folder / "landing"),
                "STATE_DIR": str(folder / "state"),
            }
            serve = (str(BIN / "dxr-ingest"), "serve", "--port", "0")
            async with started("service", folder, *serve, **variables) as (address, process):
                return await snapshot(address, process.pid)
    finally:
        shutil.rmtree(folder)


async def snapshot(address: str, pid: int) -> dict[str, Any]:
    idle_mib, cpu_before_s = peak_mib(pid), cpu_s(pid)
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    async with aiohttp.ClientSession() as http:
        async with http.post(f"{address}/v1/snapshots", json={}) as response:
            run = await response.json()
        while run["state"] in {"queued", "running"}:
            await asyncio.sleep(0.2)
            async with http.get(f"{address}/v1/runs/{run['id']}") as response:
                run = await response.json()
    if run["state"] != "landed":
        raise RuntimeError(run["error"])
    return {
        "rows": run["counts"]["rows"],
        "raw_bytes": run["counts"]["raw_bytes"],
        "idle_mib": idle_mib,
        "peak_mib": peak_mib(pid),
        "cpu_s": cpu_s(pid) - cpu_before_s,
        "wall_s": loop.time() - began_s,
    }


@contextlib.asynccontextmanager
async def started(
    name: str, folder: Path, *command: str, **variables: str
) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """A process that says its address; yields both."""
    log = folder / f"{name}.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(*command, env=os.environ | variables, stdout=out, stderr=out)
    try:
        async with asyncio.timeout(60):
            while not (found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())):
                await asyncio.sleep(0.1)
        yield found[0], process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def peak_mib(pid: int) -> int:
    """The most memory that the process has held so far."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) // 1024 if found else 0


def cpu_s(pid: int) -> float:
    """User and system time of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
