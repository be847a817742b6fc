"""What the fuzzer meets: the real service in its own process, with a token, a simulated tenant and a volume."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.simulators.dxr import Classifier, DxrSimulator, GeneratedFiles

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TENANT_TOKEN = "a-token-of-the-simulated-tenant-0"
API_TOKEN = "fuzz-" + "f" * 32
BIN = Path(sys.prefix) / "bin"
START_TIMEOUT_S = 60


@contextlib.asynccontextmanager
async def served(folder: Path) -> AsyncIterator[str]:
    """The address of a service that lands in `folder`; its log is there too."""
    volume = folder / "volumes" / "main" / "legal" / "contracts"
    volume.mkdir(parents=True)
    (volume / "a.txt").write_text("label: A\n")
    classifier = Classifier(datasources=("11",))
    async with DxrSimulator(GeneratedFiles(rows=3, seed=7), tokens=(TENANT_TOKEN,), classifier=classifier) as dxr:
        variables = {
            "DXR_BASE_URL": dxr.url,
            "DXR_BEARER_TOKEN": TENANT_TOKEN,
            "DXR_RETRY_ATTEMPTS": "1",
            "DXR_POLL_INTERVAL_SECONDS": "0.05",
            "DXR_SETTLE_SECONDS": "0",
            "VOLUME_CATALOG": "main",
            "VOLUME_SCHEMA": "legal",
            "VOLUME_NAME": "contracts",
            "VOLUME_BASE_PATH": str(folder / "volumes"),
            "DXR_DATASOURCE_ID": "11",
            "LANDING_PATH": str(folder / "landing"),
            "STATE_DIR": str(folder / "state"),
            "SERVICE_API_TOKENS": f"fuzz:{API_TOKEN}",
            "SERVICE_PORT": "0",
            "RECEIPT_POLL_SECONDS": "0.2",
        }
        log = folder / "service.log"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                BIN / "dxr-ingest", "serve", env=os.environ | variables, stdout=out, stderr=out, cwd=folder
            )
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not (found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            ingesting = asyncio.create_task(_ingest(folder / "landing"))
            try:
                yield found[0]
            finally:
                ingesting.cancel()
        finally:
            process.terminate()
            await process.wait()


async def _ingest(landing: Path) -> None:
    """A receipt for every commit: without one, the events of a run that landed go on for a quarter of an hour."""
    receipts = landing / "receipts"
    receipts.mkdir(parents=True, exist_ok=True)
    while True:
        for commit in landing.glob("commits/*.json"):
            run_id = commit.name.split(".")[2]
            receipt = {
                "format": 1,
                "run_id": run_id,
                "state": "ingested",
                "table": "t",
                "table_version": 1,
                "table_rows": json.loads(commit.read_text())["rows"],
                "quarantined_rows": 0,
                "reason": None,
                "ingested_at": "2026-11-22T00:00:00.000000Z",
            }
            if not (receipts / f"{run_id}.json").exists():
                temporary = receipts / f".{run_id}.json.tmp"
                temporary.write_text(json.dumps(receipt))
                temporary.rename(receipts / f"{run_id}.json")
        await asyncio.sleep(0.1)
