"""What the fuzzer meets: the real service in its own process, with a token, a simulated tenant and a volume."""

from __future__ import annotations

import asyncio
import contextlib
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
            yield found[0]
        finally:
            process.terminate()
            await process.wait()
