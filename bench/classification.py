"""Classification: ten thousand files, each with its own label; throughput over 1, 2 and 4 datasources."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from bench.processes import carried_out, fresh_service, peak_mib

if TYPE_CHECKING:
    from rich.console import Console

MANY_FILES = 10_000
FILES = 1_000
SAME_NAMES = 200
PEAK_MIB_MAX = 200
POLL_S = 0.2
GAIN_MIN = 1.5  # of twice the datasources, while the machine is not full


async def measure(say: Console) -> dict[str, Any]:
    """Files per second by datasources, and the memory and correctness of ten thousand files over four."""
    table = Table("files", "datasources", "files/s", "peak MiB", "labels right", box=None)
    runs: list[dict[str, Any]] = []
    for files, lanes in ((FILES, 1), (FILES, 2), (FILES, 4), (MANY_FILES, 4)):
        with say.status(f"classifying {files:,} files over {lanes} datasources"):
            run = await classified(files, lanes)
        runs.append(run)
        right = "all" if run["wrong"] == 0 else f"{run['wrong']} wrong"
        table.add_row(f"{files:,}", str(lanes), f"{run['files_per_s']:.0f}", str(run["peak_mib"]), right)
    say.print(table)
    one, two, *_ = (run["files_per_s"] for run in runs)
    passed = two / one >= GAIN_MIN and all(run["wrong"] == 0 and run["peak_mib"] < PEAK_MIB_MAX for run in runs)
    say.print(
        f"every label right, peak below {PEAK_MIB_MAX} MiB, two datasources at least {GAIN_MIN} x one "
        f"({two / one:.2f} x): {passed}"
    )
    return {"runs": runs, "passed": passed}


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
    }
    try:
        planted = plant(folder / "volumes" / "main" / "bench" / "files", files)
        async with fresh_service(folder, 1, "--datasources", datasources, **volume) as (address, process):
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            run = await carried_out(address, "/v1/classifications")
            took_s = loop.time() - began_s
            peak = peak_mib(process.pid)
        return {
            "files": files,
            "lanes": lanes,
            "files_per_s": files / took_s,
            "peak_mib": peak,
            "wrong": wrong_labels(folder / "landing" / run["commit"], folder / "landing", planted),
        }
    finally:
        shutil.rmtree(folder)


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
