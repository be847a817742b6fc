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
    from collections.abc import AsyncGenerator, Mapping

TOKEN = "the-token-of-the-simulated-tenant"
BIN = Path(sys.prefix) / "bin"
# Not the address of somebody else that it speaks to.
_ADDRESS = re.compile(r'(?:listening on |"address": ")(http://127\.0\.0\.1:\d+)')
COMMAND = (str(BIN / "dxr-ingest"),)


async def carried_out(address: str, route: str, asked: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The run of a trigger, once it has landed."""
    async with aiohttp.ClientSession() as http:
        async with http.post(f"{address}{route}", json=asked or {}) as response:
            run = await response.json()
        if "state" not in run:
            raise RuntimeError(run)
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
            while not (found := _ADDRESS.search(log.read_text())):
                if process.returncode is not None:
                    raise RuntimeError(log.read_text())
                await asyncio.sleep(0.02)
        yield found[1], process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


@contextlib.asynccontextmanager
async def fresh_service(
    folder: Path, rows: int, *tenant_options: str, **variables: str
) -> AsyncGenerator[tuple[str, asyncio.subprocess.Process]]:
    """A service that did nothing before, its address and process, over a tenant in a process of its own."""
    async with (
        tenant_of(folder, rows, *tenant_options) as (dxr_url, _),
        service_over(dxr_url, folder, **variables) as service,
    ):
        yield service


def tenant_of(
    folder: Path, rows: int, *options: str
) -> contextlib.AbstractAsyncContextManager[tuple[str, asyncio.subprocess.Process]]:
    """A simulated tenant, its address and process."""
    command = (sys.executable, "-m", "tests.simulators.dxr", "--rows", str(rows), "--token", TOKEN, *options)
    return started("tenant", folder, *command)


@contextlib.asynccontextmanager
async def service_over(
    dxr_url: str, folder: Path, command: tuple[str, ...] = COMMAND, **variables: str
) -> AsyncGenerator[tuple[str, asyncio.subprocess.Process]]:
    """A service that did nothing before, its address and process; it lands in `folder` if nothing else is said."""
    of_all = {
        "DXR_BASE_URL": dxr_url,
        "DXR_BEARER_TOKEN": TOKEN,
        "LANDING_PATH": str(folder / "landing"),
        "STATE_DIR": str(folder / "state"),
    }
    async with started("service", folder, *command, "serve", "--port", "0", **(of_all | variables)) as service:
        yield service


def memory_mib(pid: int) -> dict[str, float]:
    """What the process holds now: resident, and its share of what it shares with others."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = dict(re.findall(r"^(Rss|Pss|Anonymous):\s+(\d+) kB", rollup, re.MULTILINE))
    return {name.lower(): int(kib) / 1024 for name, kib in found.items()}


def peak_mib(pid: int) -> int:
    """The most memory that the process has held so far."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) // 1024 if found else 0


def cpu_s(pid: int) -> float:
    """User and system time of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
