"""What a start costs, and what an idle service is made of."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

from bench.processes import BIN, COMMAND, TOKEN, cpu_s, memory_mib, service_over
from bench.results import judged, sized, spread

if TYPE_CHECKING:
    from rich.console import Console

ROUNDS: Final = sized(5, 1)
IDLE_S: Final = sized(10.0, 0.2)
HELP_CPU_S_MAX: Final = 0.5
FIRST_BYTE_CPU_S_MAX: Final = 1.5
# In the order in which they come in; each is told what it adds to those before it.
MADE_OF: Final = (
    ("typer", "the command line"),
    ("pydantic, pydantic_settings, service.settings", "settings"),
    ("aiohttp", "HTTP client"),
    ("service.cli.trigger, structlog", "logs"),
    ("sqlalchemy.ext.asyncio, sqlalchemy.dialects.postgresql, aiosqlite", "run store"),
    ("service.wiring", "this service, prometheus_client, msgspec, simdjson, isal"),
    ("fastapi, uvicorn", "HTTP server"),
    ("service.api.server", "API and page"),
    ("databricks.sdk.core", "signing in, only where Databricks is spoken to"),
)


async def measure(say: Console) -> dict[str, Any]:
    """CPU of `--help` and of a snapshot until it asks for its first byte; size and CPU of a service that waits."""
    with say.status("starting"):
        helps = [help_cpu_s() for _ in range(ROUNDS)]
        with tempfile.TemporaryDirectory(prefix="dxr-bench-") as name:
            first = [first_byte_cpu_s(Path(name) / str(number)) for number in range(ROUNDS)]
            idle = await idle_service(Path(name))
        parts = made_of()
    say.print(f"dxr-ingest --help: {spread(helps, 2)} s CPU; snapshot to its first request: {spread(first, 2)} s CPU")
    say.print(f"idle service: {idle['rss']:.0f} MiB resident, {idle['cpu_ms_per_s']:.1f} ms CPU a second")
    table = Table("an idle service is made of", "MiB", "CPU s", box=None)
    for part, figures in parts.items():
        table.add_row(part, f"{figures['mib']:.1f}", f"{figures['cpu_s']:.2f}")
    say.print(table)
    verdict = judged(
        say,
        {
            f"--help within {HELP_CPU_S_MAX} s CPU": statistics.median(helps) <= HELP_CPU_S_MAX,
            f"a snapshot asks within {FIRST_BYTE_CPU_S_MAX} s CPU": statistics.median(first) <= FIRST_BYTE_CPU_S_MAX,
        },
    )
    return {"help_cpu_s": helps, "first_byte_cpu_s": first, "idle": idle, "made_of": parts, **verdict}


def help_cpu_s() -> float:
    pid = os.posix_spawn(
        COMMAND[0],
        (*COMMAND, "--help"),
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise RuntimeError("--help failed")
    return usage.ru_utime + usage.ru_stime


def first_byte_cpu_s(folder: Path) -> float:
    """By then it has read its settings, opened a new run store and begun an attempt."""
    with socket.create_server(("127.0.0.1", 0)) as tenant:
        variables = {
            "DXR_BASE_URL": f"http://127.0.0.1:{tenant.getsockname()[1]}",
            "DXR_BEARER_TOKEN": TOKEN,
            "LANDING_PATH": str(folder / "landing"),
            "STATE_DIR": str(folder / "state"),
        }
        quiet = subprocess.DEVNULL
        with subprocess.Popen(
            (*COMMAND, "snapshot"), env=os.environ | variables, stdout=quiet, stderr=quiet
        ) as process:
            tenant.settimeout(60)
            try:
                client, _ = tenant.accept()
                with client:
                    client.recv(1)
                    return cpu_s(process.pid)
            finally:
                process.send_signal(signal.SIGKILL)


async def idle_service(folder: Path) -> dict[str, float]:
    async with service_over("http://127.0.0.1:9", folder) as (_address, process):
        await asyncio.sleep(IDLE_S / 2)
        before_s = cpu_s(process.pid)
        await asyncio.sleep(IDLE_S)
        spent_s = cpu_s(process.pid) - before_s
        return {**memory_mib(process.pid), "cpu_ms_per_s": 1000 * spent_s / IDLE_S}


def made_of() -> dict[str, dict[str, float]]:
    """What each import adds, in a process that imports as the service does."""
    script = (
        "import importlib, re, sys, time\n"
        "from pathlib import Path\n"
        "def now():\n"
        "    rss = re.search(r'VmRSS:\\s+(\\d+)', Path('/proc/self/status').read_text())\n"
        "    return int(rss[1]) / 1024, time.process_time()\n"
        "print(*now())\n"
        "sys.modules['rich'] = None\n"
        "for names in sys.argv[1:]:\n"
        "    for name in names.split(', '):\n"
        "        importlib.import_module(name)\n"
        "    print(*now())\n"
    )
    command = (str(BIN / "python"), "-c", script, *(names for names, _ in MADE_OF))
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    moments = [tuple(map(float, line.split())) for line in said]
    names = ["Python itself", *(f"{names} ({what})" for names, what in MADE_OF)]
    before = [(0.0, 0.0), *moments]
    return {
        name: {"mib": mib - mib_before, "cpu_s": spent_s - spent_before_s}
        for name, (mib, spent_s), (mib_before, spent_before_s) in zip(names, moments, before, strict=False)
    }
