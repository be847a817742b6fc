"""The Spark job against the seed's way, delta-rs and DuckDB; its memory by rows; backlogs; merges by size of table."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil
from rich.table import Table

from bench.results import FOLDER, is_idle, judged, sized, spread
from bench.table_landing import chunks, file_rows, publish

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from rich.console import Console

STORE: Final = FOLDER / "tables"
SEED_ROWS: Final = sized(40_000, 200)  # where the seed's way still runs
PEER_ROWS: Final = sized(450_000, 400)  # the corpus of the landing
SEED_WARM_UPS: Final = sized(10, 0)  # for as long the JVM still compiles much of what plans a commit
PEER_WARM_UPS: Final = sized(1, 0)
SEED_ROUNDS: Final = sized(5, 1)
ROUNDS: Final = sized(3, 1)
BACKLOGS: Final = sized((1, 10, 100), (1,))
WAITING: Final = sized(1_000, 3)
COMMIT_ROWS: Final = 50
TABLE_ROWS: Final = sized((100_000, 1_000_000), (200, 2_000))
CHANGES: Final = sized((1_000, 10_000), (10,))
SEED_RATIO_MIN: Final = 3.0  # of our CPU a row
DELTA_RS_RATIO_MIN: Final = 2.0  # of its rows/s
WAITING_RATIO_MAX: Final = 5.0  # of the cost of one commit
MERGE_RATIO_MAX: Final = 3.0  # of the same change, in a table of a tenth of the rows
PEAK_MIB_MAX: Final = 3 * 1024  # heap of 2 GB, and what a JVM needs beside it

OURS: Final = "Spark job, local[2]"
SEED: Final = "the seed's way, local[2]"
DELTA_RS: Final = "delta-rs, json, 1 core"
DELTA_RS_BEST: Final = "delta-rs, msgspec, 1 core"
DUCKDB: Final = "DuckDB + delta-rs, 1 core"
WRITERS: Final = {
    OURS: ("spark", "2"),
    SEED: ("seed", "2"),
    DELTA_RS: ("delta-rs", "1"),
    DELTA_RS_BEST: ("delta-rs-best", "1"),
    DUCKDB: ("duckdb", "1"),
}


@dataclass(frozen=True)
class Cost:
    """What a job took, in all its processes."""

    cpu_s: float
    wall_s: float


class Writer:
    """A process of `bench.table_writers`, warm after its first jobs."""

    def __init__(self, name: str, cores: str, log: Path) -> None:
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                (sys.executable, "-m", "bench.table_writers", name, cores),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=out,
                env=os.environ | {"PYTHONWARNINGS": "ignore"},
            )
        self.log = log
        self.runs = count(1)

    def write(self, landing: Path, tables: Path, rows: int, day: str = "") -> Cost:
        """Let it bring what waits in a landing into tables; raises when there are not as many rows afterwards."""
        assert self.process.stdin
        assert self.process.stdout
        before_s, began_s = self._cpu_s(), time.monotonic()
        job = {"landing": str(landing.absolute()), "tables": str(tables.absolute()), "day": day}
        self.process.stdin.write(json.dumps(job).encode() + b"\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        wall_s = time.monotonic() - began_s
        # Process by process: Spark's Python workers end after a minute without work, and nobody inherits their time.
        cpu_s = sum(spent_s - before_s.get(pid, 0.0) for pid, spent_s in self._cpu_s().items())
        cost = Cost(cpu_s, wall_s)
        if not answer or json.loads(answer)["rows"] != rows:
            raise RuntimeError(f"not {rows} rows but {answer!r}: {self.log.read_text()[-2000:]}")
        return cost

    def peak_mib(self) -> int:
        """The most memory that its largest process has held so far."""
        found = (re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{one.pid}/status").read_text()) for one in self._tree())
        return max(int(peak[1]) for peak in found if peak) // 1024

    def end(self) -> None:
        """Let it finish."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(60)

    def _tree(self) -> list[psutil.Process]:
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def _cpu_s(self) -> dict[int, float]:
        times = {process.pid: process.cpu_times() for process in self._tree()}
        return {pid: one.user + one.system + one.children_user + one.children_system for pid, one in times.items()}


class Bench:
    """The writers that run, and a folder in which each job has a landing and tables of its own."""

    def __init__(self, say: Console, work: Path) -> None:
        self.say, self.work = say, work
        self.numbers = count(1)
        self.writers: dict[str, Writer] = {}

    @contextlib.contextmanager
    def running(self, names: Iterable[str]) -> Generator[None]:
        """Writers that do not run yet, to the end of the block."""
        new = [name for name in names if name not in self.writers]
        for name in new:
            self.writers[name] = Writer(*WRITERS[name], self.work / f"writer-{next(self.numbers)}.log")
        try:
            yield
        finally:
            for name in new:
                self.writers.pop(name).end()

    def place(self) -> Path:
        """A folder for a job."""
        path = self.work / f"job-{next(self.numbers)}"
        (path / "landing").mkdir(parents=True)
        return path

    def snapshot(self, name: str, rows: int) -> Cost:
        """What it costs a writer to bring one more day of so many rows into its table."""
        writer, store, place = self.writers[name], STORE / f"files-{rows}", self.place()
        number = next(writer.runs)
        day = f"{date(2026, 1, 1) + timedelta(days=number)}"
        publish(place / "landing", number, file_rows(rows, store), store, day=day)
        try:
            return writer.write(place / "landing", writer.log.with_suffix(".tables"), rows, day)
        finally:
            shutil.rmtree(place)

    def compare(self, names: Iterable[str], rows: int, warm_ups: int, rounds: int) -> dict[str, list[Cost]]:
        """Snapshots in turn, after warm-ups that do not count."""
        costs: dict[str, list[Cost]] = {name: [] for name in names}
        for number in range(warm_ups + rounds):
            for name, counted in costs.items():
                with self.say.status(f"{rows:,} rows, {name}, round {number + 1} of {warm_ups + rounds}"):
                    cost = self.snapshot(name, rows)
                if number >= warm_ups:
                    counted.append(cost)
        return costs


async def measure(say: Console) -> dict[str, Any]:
    """Everything about the tables; passed is what the ratios say."""
    return await asyncio.to_thread(measured, say)


def measured(say: Console) -> dict[str, Any]:
    idle = is_idle()
    work = Path(tempfile.mkdtemp(prefix="tables-", dir=made(STORE)))  # beside the chunks, which are linked
    bench = Bench(say, work)
    try:
        with say.status("making chunks"):
            for rows in (SEED_ROWS, PEER_ROWS):
                file_rows(rows, STORE / f"files-{rows}")
        with bench.running([OURS]):
            with bench.running([SEED]):
                small = shown(say, bench.compare([OURS, SEED], SEED_ROWS, SEED_WARM_UPS, SEED_ROUNDS), SEED_ROWS)
            memory = {f"{SEED_ROWS:,}": bench.writers[OURS].peak_mib()}
            peers = [OURS, DELTA_RS, DELTA_RS_BEST, DUCKDB]
            with bench.running(peers):
                large = shown(say, bench.compare(peers, PEER_ROWS, PEER_WARM_UPS, ROUNDS), PEER_ROWS)
            memory[f"{PEER_ROWS:,}"] = bench.writers[OURS].peak_mib()
            say.print(
                "peak MiB of the JVM with a heap of 2 GB: "
                + ", ".join(f"{rows} rows: {peak:,}" for rows, peak in memory.items())
            )
            waiting = backlogs(bench)
            merged = merges(bench)
    finally:
        shutil.rmtree(work)
    cpu_us = {name: statistics.median(one["cpu_us"]) for name, one in small.items()}
    speed = {name: statistics.median(one["rows_per_s"]) for name, one in large.items()}
    change, smaller, larger = str(CHANGES[0]), *map(str, TABLE_ROWS)
    ratios = {
        "cheaper than the seed": cpu_us[SEED] / cpu_us[OURS],
        **{f"speed of {name}": speed[OURS] / other for name, other in speed.items() if name != OURS},
        f"cost of {WAITING:,} waiting": waiting[f"{WAITING} classification"] / waiting["1 classification"],
        "cost in ten times the table": statistics.median(merged[larger][change]["cpu_s"])
        / statistics.median(merged[smaller][change]["cpu_s"]),
    }
    say.print(", ".join(f"{name}: {ratio:.2f}" for name, ratio in ratios.items()), highlight=False)
    claims = {
        f"at least {SEED_RATIO_MIN} x less CPU a row than the seed": ratios["cheaper than the seed"] >= SEED_RATIO_MIN,
        f"at most {PEAK_MIB_MAX} MiB with a heap of 2 GB": max(memory.values()) <= PEAK_MIB_MAX,
        f"{WAITING:,} waiting commits at most {WAITING_RATIO_MAX} x one": ratios[f"cost of {WAITING:,} waiting"]
        <= WAITING_RATIO_MAX,
        f"a merge into ten times the rows at most {MERGE_RATIO_MAX} x": ratios["cost in ten times the table"]
        <= MERGE_RATIO_MAX,
    }
    if idle:
        claims[f"at least {DELTA_RS_RATIO_MIN} x the rows/s of {DELTA_RS}"] = (
            ratios[f"speed of {DELTA_RS}"] >= DELTA_RS_RATIO_MIN
        )
    else:
        say.print(f"not judged: at least {DELTA_RS_RATIO_MIN} x the rows/s of {DELTA_RS}; others were at work")
    return {
        "snapshots": {f"{SEED_ROWS:,}": small, f"{PEER_ROWS:,}": large},
        "peak_mib": memory,
        "backlog_cpu_s": waiting,
        "merges": merged,
        "ratios": ratios,
        **judged(say, claims),
    }


def made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder.absolute()


def shown(say: Console, costs: dict[str, list[Cost]], rows: int) -> dict[str, dict[str, list[float]]]:
    """The figures by contender, printed."""
    table = Table(f"{rows:,} rows", "CPU us/row", "rows/s", box=None)
    figures: dict[str, dict[str, list[float]]] = {}
    for name, runs in costs.items():
        figures[name] = {
            "cpu_us": [1e6 * cost.cpu_s / rows for cost in runs],
            "rows_per_s": [rows / cost.wall_s for cost in runs],
        }
        table.add_row(name, spread(figures[name]["cpu_us"], 0), spread(figures[name]["rows_per_s"], 0))
    say.print(table)
    return figures


def backlogs(bench: Bench) -> dict[str, float]:
    """CPU seconds of backlogs that one batch settles: of one day, of as many days, of classifications."""
    table = Table("commits waiting", "CPU s", "CPU s a commit", box=None)
    found: dict[str, float] = {}
    sizes = {
        "snapshot of one day": BACKLOGS,
        "snapshot of a day each": BACKLOGS[:2],
        "classification": (*BACKLOGS, WAITING),
    }
    for kind, commits in sizes.items():
        for waiting in (1, *commits):  # the first one is a warm-up
            name = f"{waiting} {kind}"
            with bench.say.status(name):
                costs = [backlog(bench, kind, waiting).cpu_s for _ in range(ROUNDS if waiting == 1 else 1)]
            found[name] = statistics.median(costs)
        for waiting in commits:
            cpu_s = found[f"{waiting} {kind}"]
            table.add_row(f"{waiting:,} {kind}", f"{cpu_s:.2f}", f"{cpu_s / waiting:.3f}")
    bench.say.print(table)
    return found


def backlog(bench: Bench, kind: str, waiting: int) -> Cost:
    """What it costs to settle commits that came while nobody looked."""
    place = bench.place()
    rows = 0
    for number in range(1, waiting + 1):
        if kind == "classification":
            store = STORE / f"classified-{COMMIT_ROWS}"
            classify(place / "landing", number, chunks([classified(range(COMMIT_ROWS))], store), store)
            rows += COMMIT_ROWS
        else:
            store = STORE / f"files-{COMMIT_ROWS}"
            day = f"2026-01-{number:02d}" if kind == "snapshot of a day each" else "2026-01-31"
            publish(place / "landing", number, file_rows(COMMIT_ROWS, store), store, day=day)
            rows = rows + COMMIT_ROWS if kind == "snapshot of a day each" else COMMIT_ROWS
    try:
        return bench.writers[OURS].write(place / "landing", place, rows)
    finally:
        shutil.rmtree(place)


def merges(bench: Bench) -> dict[str, dict[str, dict[str, Any]]]:
    """What a change costs, by its size and by that of the table; and how much of the table is written for it."""
    table = Table("rows of the table", "rows that change", "CPU s", "MB written", "files rewritten", box=None)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for rows in TABLE_ROWS:
        place, numbers, settled = bench.place(), count(1), rows
        store = STORE / f"classified-{rows}"
        with bench.say.status(f"a table of {rows:,} classified files"):
            blocks = (classified(range(at, min(at + 1000, rows))) for at in range(0, rows, 1000))
            classify(place / "landing", next(numbers), chunks(blocks, store), store)
            bench.writers[OURS].write(place / "landing", place, settled)
        of_table = found[str(rows)] = {}
        for change in CHANGES:
            costs: list[float] = []
            for number in range(ROUNDS):
                # Neighbours, as a changed folder is; somewhere in the table.
                first = rows // 2 + number * change
                changed = STORE / f"classified-{first}-{change}"
                entries = chunks([classified(range(first, first + change))], changed)
                classify(place / "landing", next(numbers), entries, changed)
                settled += change
                with bench.say.status(f"{change:,} of {rows:,} rows, round {number + 1} of {ROUNDS}"):
                    costs.append(bench.writers[OURS].write(place / "landing", place, settled).cpu_s)
            written, rewritten = last_merge(place / "dxr_metadata")
            of_table[str(change)] = {"cpu_s": costs, "mb": written, "files_rewritten": rewritten}
            table.add_row(
                f"{rows:,}",
                f"{change:,}",
                spread(costs, 1),
                f"{written:.2f}",
                f"{rewritten:.0f}",
            )
        shutil.rmtree(place)
    bench.say.print(table)
    return found


def last_merge(table: Path) -> tuple[float, float]:
    """Megabytes added by the newest version of a table, and how many of its files were written anew for it."""
    log = max((table / "_delta_log").glob("*.json"))
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    removed = {action["remove"]["path"] for action in actions if "remove" in action}
    added = {action["add"]["path"]: action["add"]["size"] for action in actions if "add" in action}
    # A file that only got a deletion vector is removed and added under its own name.
    new = {path: size for path, size in added.items() if path not in removed}
    vectors = sum(
        (action["add"].get("deletionVector") or {}).get("sizeInBytes", 0) for action in actions if "add" in action
    )
    return (sum(new.values()) + vectors) / 1e6, float(len(removed - added.keys()))


def classify(landing: Path, number: int, entries: list[dict[str, Any]], store: Path) -> None:
    publish(landing, number, entries, store, dataset="dxr_metadata", kind="classification")


def classified(files: range) -> bytes:
    """Rows of classified files, a thousand to a folder."""
    return b"".join(
        b'{"file_path":"/Volumes/main/dxr/files/%(folder)04d/report-%(file)07d.txt",'
        b'"relative_path":"%(folder)04d/report-%(file)07d.txt","catalog_name":"main","schema_name":"dxr",'
        b'"volume_name":"files","file_size":%(size)d,"modification_time":%(time)d,"datasource_id":"11",'
        b'"datasource_scan_id":%(folder)d,"job_id":"job-%(folder)d","labels":["Confidential","PII"],"tags":[],'
        b'"categories":["finance"],"raw_metadata":"{\\"hit\\":%(file)d}","collected_at":"2026-01-31T00:00:00Z",'
        b'"file_name":"report-%(file)07d.txt","object_id":"object-%(file)d","mime_type":"text/plain",'
        b'"sha256":"%(file)064x","status":"LABELLED","reason":null,"deleted_at":null}\n'
        % {
            b"folder": file // 1000,
            b"file": file,
            b"size": file * 7919 % 1_000_000,
            b"time": 1_760_000_000_000 + file,
        }
        for file in files
    )
