"""Landing against what an engineer would write in a shell, and against the client that this project replaces."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

from bench.processes import BIN, TOKEN, started
from bench.results import FOLDER, is_idle, judged, sized, spread
from bench.source import corpus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rich.console import Console

ROWS: Final = sized(450_000, 300)
# The same work takes up to a third more CPU while others use the machine's caches: many rounds of what is quick.
ROUNDS: Final = sized(15, 1)
REPEATS: Final = sized((1, 4, 16), (1, 2))
CPU_RATIO_MAX: Final = 0.8  # of the shell's CPU a GB
SPEED_RATIO_MIN: Final = 1.8  # of the shell's MB/s, on an idle machine
SEED_RATIO_MIN: Final = 35.0
PEAK_MIB_MAX: Final = 128
GROWTH_MIB_MAX: Final = 10
SHELL: Final = Path(__file__).with_name("shell.sh")


@dataclass(frozen=True)
class Contender:
    """What runs in turn with the others; a slow one only in each `every`-th round."""

    gb: float
    run: Callable[[], Cost]
    every: int = 1


@dataclass(frozen=True)
class Cost:
    """What a command took, with its children."""

    cpu_s: float
    wall_s: float
    peak_mib: float

    def __sub__(self, start: Cost) -> Cost:
        return Cost(self.cpu_s - start.cpu_s, self.wall_s - start.wall_s, self.peak_mib)


async def measure(say: Console) -> dict[str, Any]:
    """CPU a GB, MB/s and peak memory, in turn; medians and spread."""
    if shutil.which("igzip") is None:
        raise SystemExit("the shell's part needs igzip: apt-get install isal")
    whole, tenth, one = (corpus(rows, FOLDER) for rows in (ROWS, ROWS // 10, 1))
    work = Path(tempfile.mkdtemp(prefix="dxr-bench-"))
    try:
        async with (
            started("whole", work, *source(whole)) as (whole_url, _),
            started("tenth", work, *source(tenth)) as (tenth_url, _),
            started("one", work, *source(one)) as (one_url, _),
        ):
            return await asyncio.to_thread(compared, say, work, whole_url, tenth_url, one_url)
    finally:
        shutil.rmtree(work)


def source(path: Path) -> tuple[str, ...]:
    return sys.executable, "-m", "bench.source", str(path)


def compared(say: Console, work: Path, whole_url: str, tenth_url: str, one_url: str) -> dict[str, Any]:
    idle = is_idle()
    gb = landed(work, whole_url)[1] / 1e9  # also brings the corpus into the page cache
    stored = str(work / "seed.jsonl.gz")
    contenders = {
        "dxr-ingest snapshot": Contender(gb, lambda: landed(work, whole_url)[0] - landed(work, one_url)[0]),
        "curl | split, igzip, sha256sum, wc": Contender(gb, lambda: piped(work, whole_url)),
        "requests.iter_lines, json.loads": Contender(
            gb / 10, lambda: read_by_seed(tenth_url) - read_by_seed(one_url), every=3
        ),
        "requests.iter_lines, json.loads, gzip.open": Contender(
            gb / 10, lambda: read_by_seed(tenth_url, stored) - read_by_seed(one_url, stored), every=3
        ),
    }
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for number in range(ROUNDS):
        for name, contender in contenders.items():
            if number % contender.every == 0:
                with say.status(f"{name}, round {number + 1} of {ROUNDS}"):
                    costs[name].append(contender.run())
    table = Table("contender", "CPU s/GB", "MB/s", "peak MiB", box=None)
    figures: dict[str, dict[str, Any]] = {}
    for name, contender in contenders.items():
        cpu = [cost.cpu_s / contender.gb for cost in costs[name]]
        speed = [1000 * contender.gb / max(cost.wall_s, 1e-3) for cost in costs[name]]
        peak = max(cost.peak_mib for cost in costs[name])
        figures[name] = {"cpu_s_per_gb": cpu, "mb_per_s": speed, "peak_mib": peak}
        table.add_row(name, spread(cpu, 2), spread(speed, 0), f"{peak:.0f}")
    say.print(table)
    ours, shell, reading, storing = (
        {figure: statistics.median(one[figure]) for figure in ("cpu_s_per_gb", "mb_per_s")} for one in figures.values()
    )
    ratios = {
        "cpu_of_shell": ours["cpu_s_per_gb"] / shell["cpu_s_per_gb"],
        "speed_of_shell": ours["mb_per_s"] / shell["mb_per_s"],
        "cheaper_than_seed": storing["cpu_s_per_gb"] / ours["cpu_s_per_gb"],
        "cheaper_than_seed_storing_nothing": reading["cpu_s_per_gb"] / ours["cpu_s_per_gb"],
    }
    start = landed(work, one_url)[0]
    longer = {times: landed(work, whole_url, times)[0] - start for times in REPEATS}
    table = Table("one stream of", "CPU s/GB", "peak MiB", box=None)
    for times, cost in longer.items():
        table.add_row(f"{times * gb:.1f} GB", f"{cost.cpu_s / gb / times:.2f}", f"{cost.peak_mib:.0f}")
    say.print(table)
    say.print(", ".join(f"{name}: {ratio:.2f}" for name, ratio in ratios.items()))
    peaks = [cost.peak_mib for cost in longer.values()]
    claims = {
        f"CPU a GB at most {CPU_RATIO_MAX} x the shell's": ratios["cpu_of_shell"] <= CPU_RATIO_MAX,
        # Landing ends with files: what only reads and parses is told, and not what is judged.
        f"at least {SEED_RATIO_MIN:.0f} x cheaper than the seed's client, which stores too": ratios["cheaper_than_seed"]
        >= SEED_RATIO_MIN,
        f"peak at most {PEAK_MIB_MAX} MiB": max(peaks) <= PEAK_MIB_MAX,
        f"{' GB, '.join(map(str, REPEATS))} GB: the same peak within {GROWTH_MIB_MAX} MiB": max(peaks) - min(peaks)
        <= GROWTH_MIB_MAX,
    }
    if idle:
        claims[f"at least {SPEED_RATIO_MIN} x its MB/s"] = ratios["speed_of_shell"] >= SPEED_RATIO_MIN
    else:
        say.print(f"not judged: at least {SPEED_RATIO_MIN} x its MB/s; others were at work when this began")
    by_length = {f"{times * gb:.1f} GB": {**vars(cost), "gb": times * gb} for times, cost in longer.items()}
    return {"gb": gb, "figures": figures, "ratios": ratios, "by_length": by_length, **judged(say, claims)}


def landed(work: Path, address: str, times: int = 1) -> tuple[Cost, int]:
    """A snapshot through the command line, and the raw bytes that its run tells."""
    variables = {
        "DXR_BASE_URL": address,
        "DXR_BEARER_TOKEN": TOKEN,
        "LANDING_PATH": str(work / "landing"),
        "STATE_DIR": str(work / "state"),
        "DXR_QUERY": str(times),
        "SNAPSHOT_ALLOW_EMPTY": "true",
        "SNAPSHOT_MIN_ROWS_RATIO": "0",
    }
    try:
        cost, said = run((str(BIN / "dxr-ingest"), "snapshot", "-o", "json"), variables)
    finally:
        for name in ("landing", "state"):
            shutil.rmtree(work / name, ignore_errors=True)
    return cost, json.loads(said)["counts"]["raw_bytes"]


def piped(work: Path, address: str) -> Cost:
    folder = work / "parts"
    folder.mkdir()
    try:
        return run(("bash", str(SHELL), address, str(folder)))[0]
    finally:
        shutil.rmtree(folder)


def read_by_seed(address: str, *file: str) -> Cost:
    """Its rows are held, or stored in the file."""
    return run((sys.executable, "-m", "bench.seed_client", address, *file))[0]


def run(command: tuple[str, ...], variables: Mapping[str, str] | None = None) -> tuple[Cost, bytes]:
    """The cost of a command and what it said; raises when it failed."""
    began_s = time.monotonic()
    reading, writing = os.pipe()
    error = os.open(os.devnull, os.O_WRONLY)
    pid = os.posix_spawnp(
        command[0],
        command,
        os.environ | dict(variables or {}),
        file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1), (os.POSIX_SPAWN_DUP2, error, 2)],
    )
    os.close(writing)
    os.close(error)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    _, status, usage = os.wait4(pid, 0)
    wall_s = time.monotonic() - began_s
    if status:
        raise RuntimeError(f"{command[0]} ended with {os.waitstatus_to_exitcode(status)}")
    return Cost(usage.ru_utime + usage.ru_stime, wall_s, usage.ru_maxrss / 1024), said
