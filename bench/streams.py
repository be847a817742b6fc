"""Landing in the service: one stream and four at once, to a folder and to a volume; CPU, memory, the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import statistics
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

from bench import workspace
from bench.processes import COMMAND, carried_out, cpu_s, peak_mib, service_over, started
from bench.results import FOLDER, judged, sized, spread
from bench.source import corpus

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from rich.console import Console

ROWS: Final = sized(450_000, 300)
ROUNDS: Final = sized(3, 1)
STREAMS: Final = 4
LONG: Final = sized(8, 2)  # the corpus so many times in one stream
IDLE_S: Final = sized(3.0, 0.2)
STREAM_MIB_MAX: Final = 24
GROWTH_MIB_MAX: Final = 10


@dataclass(frozen=True)
class Case:
    """So many streams at once, each with the corpus so many times, to a folder or a volume."""

    place: str
    streams: int
    times: int = 1

    def __str__(self) -> str:
        streams = "one stream" if self.streams == 1 else f"{self.streams} streams at once"
        return f"{streams}{f', {self.times} times as long' if self.times > 1 else ''}, to a {self.place}"


CASES: Final = sized(
    (
        Case("folder", 1),
        Case("folder", STREAMS),
        Case("volume", 1),
        Case("volume", STREAMS),
        Case("folder", 1, LONG),
    ),
    (Case("folder", 1), Case("volume", 2, LONG)),
)
# Whose event loop is watched.
WATCHED: Final = (Case("folder", 1), Case("folder", STREAMS))


async def measure(say: Console) -> dict[str, Any]:
    """Each case in a fresh service, in turn; then the event loop and the profile, in services that are watched."""
    whole = corpus(ROWS, FOLDER)
    with tempfile.TemporaryDirectory(prefix="dxr-bench-") as name:
        folder = Path(name)
        async with started("source", folder, sys.executable, "-m", "bench.source", str(whole)) as (dxr_url, _):
            runs = {str(case): list[dict[str, float]]() for case in CASES}
            for number in range(ROUNDS):
                for case in CASES:
                    if case.times == 1 or number == 0:
                        with say.status(f"{case}, round {number + 1} of {ROUNDS}"):
                            runs[str(case)].append(await landed(case, dxr_url, folder))
            with say.status("watching the event loop and the threads"):
                loops = {str(case): await watched("loop", case, dxr_url, folder) for case in CASES if case in WATCHED}
                profile = (await watched("profile", CASES[0], dxr_url, folder))["busy"]["cpu_s"]
    return shown(say, runs, loops, profile)


def shown(
    say: Console, runs: dict[str, list[dict[str, float]]], loops: dict[str, dict[str, Any]], profile: dict[str, float]
) -> dict[str, Any]:
    table = Table("landing in the service", "GB", "CPU s/GB", "MB/s", "idle MiB", "peak MiB", "MiB a stream", box=None)
    for name, found in runs.items():
        figures = {key: [run[key] for run in found] for key in found[0]}
        table.add_row(
            name,
            f"{figures['gb'][0]:.2f}",
            spread(figures["cpu_s_per_gb"], 2),
            spread(figures["mb_per_s"], 0),
            f"{max(figures['idle_mib']):.0f}",
            f"{max(figures['peak_mib']):.0f}",
            f"{max(figures['mib_a_stream']):.1f}",
        )
    say.print(table)
    for name, loop in loops.items():
        say.print(f"event loop, {name}: {_told(loop['busy'])}; idle: {_told(loop['idle'])}", highlight=False)
    short, long = (runs[str(case)][0] for case in (CASES[0], CASES[-1]))
    most = max(run["mib_a_stream"] for found in runs.values() for run in found)
    verdict = judged(
        say,
        {
            f"the service stays at its idle size + {STREAM_MIB_MAX} MiB a stream": most <= STREAM_MIB_MAX,
            f"{LONG} times as long, within {GROWTH_MIB_MAX} MiB": long["peak_mib"] - short["peak_mib"]
            <= GROWTH_MIB_MAX,
        },
    )
    return {"runs": runs, "loops": loops, "stages": stages(profile), "profile": profile, **verdict}


def _told(report: dict[str, dict[str, float]]) -> str:
    late, callback = report["late_ms"], report["callback_cpu_ms"]
    return f"late p99 {late.get('p99', 0):.1f} ms, CPU of a callback p99 {callback.get('p99', 0):.2f} ms"


def stages(profile: dict[str, float]) -> dict[str, float]:
    """Shares of the CPU by module of the service; what libraries spend in Python and the kernel stands beside."""
    found = Counter[str]()
    for place, spent_s in profile.items():
        module = place.partition(":")[0]
        found[module if "/" in module else f"{module} (library)"] += spent_s
    total_s = sum(found.values()) or 1.0
    return {module: spent_s / total_s for module, spent_s in found.most_common() if spent_s / total_s >= 0.01}


async def landed(case: Case, dxr_url: str, folder: Path) -> dict[str, float]:
    """One round of a case, through a service that did nothing before."""
    async with service(case.place, dxr_url, folder) as (address, process):
        idle_mib, before_s = peak_mib(process.pid), cpu_s(process.pid)
        wall_s, raw_bytes = await streamed(case, address)
        spent_s, most_mib = cpu_s(process.pid) - before_s, peak_mib(process.pid)
    return {
        "gb": raw_bytes / 1e9,
        "cpu_s_per_gb": spent_s * 1e9 / raw_bytes,
        "mb_per_s": raw_bytes / 1e6 / wall_s,
        "idle_mib": idle_mib,
        "peak_mib": most_mib,
        "mib_a_stream": (most_mib - idle_mib) / case.streams,
    }


async def streamed(case: Case, address: str) -> tuple[float, int]:
    """Seconds and raw bytes of all streams of a case."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    asked = [{"dataset": f"bench_{number}", "query": str(case.times)} for number in range(case.streams)]
    runs = await asyncio.gather(*(carried_out(address, "/v1/snapshots", one) for one in asked))
    return loop.time() - began_s, sum(run["counts"]["raw_bytes"] for run in runs)


async def watched(kind: str, case: Case, dxr_url: str, folder: Path) -> dict[str, Any]:
    """What a service says of itself while it is idle, and while it lands."""
    report = folder / "report.json"
    command = (sys.executable, "-m", "bench.watched", kind, str(report))
    async with service(case.place, dxr_url, folder, command) as (address, process):
        await asyncio.sleep(IDLE_S)
        await told(process, report)  # of the start
        await asyncio.sleep(IDLE_S)
        idle = await told(process, report)
        await streamed(case, address)
        return {"idle": idle, "busy": await told(process, report)}


async def told(process: asyncio.subprocess.Process, report: Path) -> dict[str, Any]:
    process.send_signal(signal.SIGUSR1)
    async with asyncio.timeout(60):
        while not report.exists():
            await asyncio.sleep(0.02)
    found = json.loads(report.read_text())
    report.unlink()
    return found


@contextlib.asynccontextmanager
async def service(
    place: str, dxr_url: str, folder: Path, command: tuple[str, ...] = COMMAND
) -> AsyncGenerator[tuple[str, asyncio.subprocess.Process]]:
    """A fresh service that lands in a fresh folder or volume."""
    try:
        async with contextlib.AsyncExitStack() as stack:
            variables: dict[str, str] = {"SNAPSHOT_ALLOW_EMPTY": "true"}
            if place == "volume":
                command_of_workspace = (sys.executable, "-m", "bench.workspace", str(folder / "volumes"))
                (folder / "volumes").mkdir()
                url, _ = await stack.enter_async_context(started("workspace", folder, *command_of_workspace))
                variables |= workspace.variables(url)
            yield await stack.enter_async_context(service_over(dxr_url, folder, command, **variables))
    finally:
        for name in ("landing", "state", "volumes"):
            shutil.rmtree(folder / name, ignore_errors=True)


def medians(found: list[dict[str, float]]) -> dict[str, float]:
    """One figure of each kind."""
    return {key: statistics.median(run[key] for run in found) for key in found[0]}
