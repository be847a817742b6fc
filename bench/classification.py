"""Classification: throughput over 1, 2, 4 and 8 datasources; ten thousand files, each with its own label."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import operator
import os
import random
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

from bench.processes import carried_out, cpu_s, peak_mib, service_over, tenant_of
from bench.results import judged, sized

if TYPE_CHECKING:
    from rich.console import Console

MANY_FILES: Final = sized(10_000, 60)
FILES: Final = sized(3_200, 20)
LANES: Final = sized((1, 2, 4, 8), (1, 2))
FILES_PER_JOB: Final = sized(25, 5)
SAME_NAMES: Final = 200
PEAK_MIB_MAX: Final = 200
LANES_OF_MANY: Final = sized(4, 2)
POLL_S: Final = 0.5
GAIN_MIN: Final = 1.6  # of twice the datasources, while nothing is full
FULL: Final = 0.75  # of all cores, or of the one that the service or the simulated tenant can use


async def measure(say: Console) -> dict[str, Any]:
    """Files and bytes a second by datasources; the memory and correctness of many files over some of them."""
    columns = "files", "datasources", "files/s", "MB/s", "CPU s/GB", "machine", "tenant", "peak MiB", "labels"
    table = Table(*columns, box=None)
    runs: list[dict[str, Any]] = []
    for files, lanes in (*((FILES, lanes) for lanes in LANES), (MANY_FILES, LANES_OF_MANY)):
        with say.status(f"classifying {files:,} files over {lanes} datasources"):
            run = await classified(files, lanes)
        runs.append(run)
        right = "all right" if run["wrong"] == 0 else f"{run['wrong']} wrong"
        speed = f"{run['files_per_s']:.0f}", f"{run['mb_per_s']:.1f}", f"{run['cpu_s_per_gb']:.1f}"
        busy = f"{run['machine']:.0%}", f"{run['tenant']:.0%}"
        table.add_row(f"{files:,}", str(lanes), *speed, *busy, str(run["peak_mib"]), right)
    say.print(table)
    gains = {
        f"{few['lanes']} to {many['lanes']}": many["files_per_s"] / few["files_per_s"]
        for few, many in itertools.pairwise(runs[: len(LANES)])
        if max(many["machine"], many["tenant"], many["service"]) < FULL
    }
    claims = {
        "every label right": all(run["wrong"] == 0 for run in runs),
        f"peak below {PEAK_MIB_MAX} MiB": all(run["peak_mib"] < PEAK_MIB_MAX for run in runs),
    }
    claim = f"twice the datasources at least {GAIN_MIN} x the files/s, until something is {FULL:.0%} full"
    if gains:
        say.print(", ".join(f"{doubled} datasources: {gain:.2f} x" for doubled, gain in gains.items()), highlight=False)
        claims[claim] = min(gains.values()) >= GAIN_MIN
    else:
        say.print(f"not judged: {claim}; one was full from the start", highlight=False)
    verdict = judged(say, claims)
    return {"runs": runs, "gains": gains, **verdict}


async def classified(files: int, lanes: int) -> dict[str, Any]:
    """One classification through a fresh service; the tenant runs in a process of its own."""
    folder = Path(tempfile.mkdtemp(prefix="dxr-bench-"))
    datasources = ",".join(str(11 + lane) for lane in range(lanes))
    volume = {
        "VOLUME_CATALOG": "main",
        "VOLUME_SCHEMA": "bench",
        "VOLUME_NAME": "files",
        "VOLUME_BASE_PATH": str(folder / "volumes"),
        "DXR_DATASOURCE_ID": datasources,
        "DXR_POLL_INTERVAL_SECONDS": str(POLL_S),
        "DXR_MAX_FILES_PER_JOB": str(FILES_PER_JOB),
    }
    try:
        root = folder / "volumes" / "main" / "bench" / "files"
        planted = plant(root, files)
        gb = sum((root / name).stat().st_size for name in planted) / 1e9
        async with (
            tenant_of(folder, 1, "--datasources", datasources) as (dxr_url, tenant),
            service_over(dxr_url, folder, **volume) as (address, service),
        ):

            def clocks() -> tuple[float, ...]:
                return asyncio.get_running_loop().time(), cpu_s(service.pid), cpu_s(tenant.pid), machine_busy_s()

            before = clocks()
            run = await carried_out(address, "/v1/classifications")
            took_s, spent_s, tenant_s, busy_s = map(operator.sub, clocks(), before)
            peak = peak_mib(service.pid)
        return {
            "files": files,
            "lanes": lanes,
            "files_per_s": files / took_s,
            "mb_per_s": 1000 * gb / took_s,
            "cpu_s_per_gb": spent_s / gb,
            "machine": busy_s / took_s / (os.cpu_count() or 1),
            "tenant": tenant_s / took_s,
            "service": spent_s / took_s,
            "peak_mib": peak,
            "wrong": wrong_labels(folder / "landing" / run["commit"], folder / "landing", planted),
        }
    finally:
        shutil.rmtree(folder)


def machine_busy_s() -> float:
    """CPU time of everybody."""
    user, nice, system, idle, iowait, *rest = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:])
    del idle, iowait
    return (user + nice + system + sum(rest[:2])) / os.sysconf("SC_CLK_TCK")


def plant(volume: Path, files: int) -> dict[str, str]:
    """Files of 100 bytes to 100 kB whose first line is their label; 200 pairs share a name in two folders."""
    dice = random.Random(1)
    planted: dict[str, str] = {}
    for number in range(files):
        pair, side = divmod(number, 2)
        name = f"folder-{side}/report.{pair}.txt" if pair < SAME_NAMES else f"deep/{number % 97}/file-{number}.txt"
        path = volume / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"label: L{number}\n".encode() + dice.randbytes(50).hex().encode() * dice.randrange(1, 1000))
        planted[name] = f"L{number}"
    return planted


def wrong_labels(commit: Path, landing: Path, planted: dict[str, str]) -> int:
    """How many files lack their planted label, have another one, or have no row or two."""
    found: dict[str, list[str]] = {}
    for chunk in json.loads(commit.read_text())["chunks"]:
        for line in gzip.decompress((landing / chunk["path"]).read_bytes()).splitlines():
            record = json.loads(line)
            found.setdefault(record["relative_path"], []).extend(
                label for label in record.get("labels") or ["none"] if label.startswith(("L", "none"))
            )
    return sum(found.get(name) != [label] for name, label in planted.items()) + len(found.keys() - planted.keys())
