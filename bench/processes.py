"""Processes of a benchmark: started, measured from outside, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

TOKEN = "the-token-of-the-simulated-tenant"
BIN = Path(sys.prefix) / "bin"


async def carried_out(address: str, route: str) -> dict[str, Any]:
    """The run of a trigger, once it has landed."""
    async with aiohttp.ClientSession() as http:
        async with http.post(f"{address}{route}", json={}) as response:
            run = await response.json()
        while run["state"] in {"queued", "running"}:
            await asyncio.sleep(0.2)
            async with http.get(f"{address}/v1/runs/{run['id']}") as response:
                run = await response.json()
    if run["state"] not in {"landed", "partial"}:
        raise RuntimeError(run["error"])
    return run


@contextlib.asynccontextmanager
async def started(
    name: str, folder: Path, *command: str, **variables: str
) -> AsyncGenerator[tuple[str, asyncio.subprocess.Process]]:
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


@contextlib.asynccontextmanager
async def fresh_service(
    folder: Path, rows: int, *tenant_options: str, **variables: str
) -> AsyncGenerator[tuple[str, asyncio.subprocess.Process]]:
    """A service that did nothing before, its address and process, over a tenant in a process of its own."""
    tenant = (sys.executable, "-m", "tests.simulators.dxr", "--rows", str(rows), "--token", TOKEN, *tenant_options)
    async with started("tenant", folder, *tenant) as (dxr_url, _):
        of_all = {
            "DXR_BASE_URL": dxr_url,
            "DXR_BEARER_TOKEN": TOKEN,
            "LANDING_PATH": str(folder / "landing"),
            "STATE_DIR": str(folder / "state"),
        }
        serve = (str(BIN / "dxr-ingest"), "serve", "--port", "0")
        async with started("service", folder, *serve, **of_all, **variables) as service:
            yield service


def peak_mib(pid: int) -> int:
    """The most memory that the process has held so far."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) // 1024 if found else 0


def cpu_s(pid: int) -> float:
    """User and system time of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
