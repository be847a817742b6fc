"""The API under load while a snapshot streams at full speed: no error, one run, and how long it takes beside idle."""

from __future__ import annotations

import asyncio
import shutil
import statistics
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
from rich.table import Table

from bench.processes import fresh_service

if TYPE_CHECKING:
    from rich.console import Console

READS_PER_S, TRIGGERS_PER_S, SECONDS = 500, 200, 10
REPEATS = 1000
ROWS = 20_000_000  # more than can be streamed meanwhile
API_TOKEN = "load-" + "l" * 32
KEY = {"Idempotency-Key": "the-run-that-streams"}


@dataclass
class Answers:
    """What came back at a rate that does not wait for answers: a slow one delays no other request."""

    per_s: float
    outcomes: Counter[str] = field(default_factory=Counter[str])
    waits_s: list[float] = field(default_factory=list[float])
    run_ids: set[str] = field(default_factory=set[str])

    def row(self, name: str) -> tuple[str, ...]:
        """A line of the table."""
        percent = statistics.quantiles(self.waits_s, n=1000)
        shown = ", ".join(f"{count:,} x {outcome}" for outcome, count in sorted(self.outcomes.items()))
        return name, f"{self.per_s:.0f}/s", shown, *(f"{1000 * percent[at]:.1f}" for at in (499, 989, 998))

    @property
    def p99_ms(self) -> float:
        """What one in a hundred waited longer than."""
        return 1000 * statistics.quantiles(self.waits_s, n=100)[98]


async def measure(say: Console) -> dict[str, Any]:
    """Reads alone; reads and triggers while a run streams; one key a thousand times."""
    folder = Path(tempfile.mkdtemp(prefix="dxr-bench-"))
    try:
        tokens = f"load:{API_TOKEN}"
        async with fresh_service(folder, ROWS, "--seed", "1", SERVICE_API_TOKENS=tokens) as (address, _process):
            return await loaded(address, say)
    finally:
        shutil.rmtree(folder)


async def loaded(address: str, say: Console) -> dict[str, Any]:
    table = Table("what", "asked", "answers", "p50 ms", "p99 ms", "p99.9 ms", box=None)
    headers = {"Authorization": f"Bearer {API_TOKEN}"}
    connector = aiohttp.TCPConnector(limit=200)
    async with aiohttp.ClientSession(address, headers=headers, connector=connector) as http:
        idle = await at_rate(http, READS_PER_S, "GET", "/v1/runs")
        table.add_row(*idle.row("reads, idle"))
        async with http.post("/v1/snapshots", json={}, headers=KEY) as response:
            run = await response.json()
        before = await until_rows(http, run["id"])
        reads, triggers, repeats = await asyncio.gather(
            at_rate(http, READS_PER_S, "GET", f"/v1/runs/{run['id']}"),
            at_rate(http, TRIGGERS_PER_S / 2, "POST", "/v1/snapshots"),
            at_rate(http, TRIGGERS_PER_S / 2, "POST", "/v1/snapshots", KEY, times=REPEATS),
        )
        for name, answers in (("reads", reads), ("triggers", triggers), ("triggers by key", repeats)):
            table.add_row(*answers.row(f"{name}, while a snapshot streams"))
        async with http.get(f"/v1/runs/{run['id']}") as response:
            after = await response.json()
        async with http.get("/v1/runs") as response:
            runs = len(await response.json())
        async with http.post(f"/v1/runs/{run['id']}/cancel") as response:
            await response.read()
    say.print(table)
    rows_per_s = (after["progress"]["rows"] - before) / SECONDS
    only = {"GET": {"200"}, "POST": {"409"}, "KEY": {"202"}}
    right = (
        set(idle.outcomes) | set(reads.outcomes) == only["GET"]
        and set(triggers.outcomes) == only["POST"]
        and set(repeats.outcomes) == only["KEY"]
    )
    passed = right and runs == 1 and triggers.run_ids | repeats.run_ids == {run["id"]} and after["state"] == "running"
    say.print(f"no error, one run, which streamed {rows_per_s:,.0f} rows/s meanwhile: {passed}")
    return {
        "idle_p99_ms": idle.p99_ms,
        "reads_p99_ms": reads.p99_ms,
        "triggers_p99_ms": triggers.p99_ms,
        "repeats_p99_ms": repeats.p99_ms,
        "rows_per_s": rows_per_s,
        "passed": passed,
    }


async def until_rows(http: aiohttp.ClientSession, run_id: str) -> int:
    while True:
        async with http.get(f"/v1/runs/{run_id}") as response:
            run = await response.json()
        if run["progress"].get("rows"):
            return run["progress"]["rows"]
        await asyncio.sleep(0.1)


async def at_rate(
    http: aiohttp.ClientSession,
    per_s: float,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    times: int | None = None,
) -> Answers:
    """Requests at fixed moments; a wait is counted from the moment at which its request was due."""
    answers, loop = Answers(per_s), asyncio.get_running_loop()
    body = {} if method == "POST" else None

    async def ask(due_s: float) -> None:
        try:
            async with http.request(method, path, json=body, headers=headers) as response:
                told = await response.json(content_type=None)
                answers.outcomes[str(response.status)] += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            answers.outcomes[type(error).__name__] += 1
            return
        answers.waits_s.append(loop.time() - due_s)
        if method == "POST":
            answers.run_ids.add(str(told.get("run_id") or told.get("id")))

    began_s = loop.time()
    async with asyncio.TaskGroup() as tasks:
        for number in range(times or round(per_s * SECONDS)):
            due_s = began_s + number / per_s
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            tasks.create_task(ask(due_s))
    return answers
