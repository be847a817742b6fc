"""`make fuzz`: schemathesis with all its checks against the real service; exit code 1 on any finding.

python -m tests.fuzz --cases 5000 --seed 7
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.fuzz.world import API_TOKEN, BIN, served

ROOT: Final = Path(__file__).parents[2]
# Cases of one operation in one go; operations differ in how many different ones there are.
AT_ONCE: Final = 1000


@dataclass(frozen=True)
class Fuzzed:
    """What one go of the fuzzer found, as its report says."""

    report: dict[str, Any]
    output: str

    @property
    def cases(self) -> int:
        """Requests that were made up and sent."""
        return self.report["test_cases"]["generated"]

    @property
    def findings(self) -> int:
        """Failures and errors."""
        return self.report["test_cases"]["unique_failures"] + len(self.report["errors"])


async def fuzzed(address: str, folder: Path, examples: int, seed: int) -> Fuzzed:
    """One go over every operation: examples, boundary values, made-up requests, and sequences of them."""
    report = folder / f"report-{seed}.json"
    command = (BIN / "schemathesis", "run", f"{address}/openapi.json", "--checks", "all", "--mode", "all")
    options = ("--header", f"Authorization: Bearer {API_TOKEN}", "--max-examples", str(examples), "--seed", str(seed))
    told = ("--report", "json", "--report-json-path", str(report), "--no-color", "--continue-on-failure")
    variables = {"SCHEMATHESIS_HOOKS": "tests.fuzz.hooks", "PYTHONPATH": str(ROOT)}
    process = await asyncio.create_subprocess_exec(
        *command,
        *options,
        *told,
        cwd=folder,
        env=os.environ | variables,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return Fuzzed(json.loads(report.read_text()), output.decode())


async def fuzz(cases_min: int, seed: int) -> int:
    """Go on until so many cases were sent; how many findings there were."""
    cases = findings = 0
    with tempfile.TemporaryDirectory(prefix="dxr-fuzz-") as name:
        async with served(Path(name)) as address:
            while cases < cases_min and not findings:
                one = await fuzzed(address, Path(name), AT_ONCE, seed)
                cases, findings = cases + one.cases, findings + one.findings
                sys.stdout.write(f"seed {seed}: {one.cases:,} cases, {one.findings} findings; {cases:,} cases so far\n")
                if one.findings:
                    sys.stdout.write(one.output)
                sys.stdout.flush()
                seed += 1
    return findings


def main() -> int:
    """Read the command line and fuzz."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=5000, help="stop once so many cases were sent")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments = parser.parse_args()
    return 1 if asyncio.run(fuzz(arguments.cases, arguments.seed)) else 0


if __name__ == "__main__":
    sys.exit(main())
