"""`make bench [PARTS="landing-memory classification"]`: runs the parts by name and writes `.bench/results.json`."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sys
from pathlib import Path

from rich.console import Console

from bench import api, classification, landing, landing_memory

PARTS = {
    "landing": landing.measure,
    "landing-memory": landing_memory.measure,
    "classification": classification.measure,
    "api": api.measure,
}
RESULTS = Path(".bench/results.json")


async def main(names: list[str]) -> int:
    say = Console()
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    say.print(f"machine: {machine}")
    results: dict[str, object] = {"machine": machine}
    passed = True
    for name in names or list(PARTS):
        if name not in PARTS:
            say.print(f"there is no part {name}; there are: {', '.join(PARTS)}")
            return 2
        say.rule(name)
        result = await PARTS[name](say)
        results[name] = result
        passed = passed and bool(result["passed"])
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    say.print(f"written to {RESULTS}; {'passed' if passed else 'NOT passed'}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
