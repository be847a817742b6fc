"""A simulated Databricks workspace of its own process: `python -m bench.workspace FOLDER`, which plays /Volumes."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final

from tests.simulators.databricks import DatabricksSimulator
from tests.simulators.databricks.oauth import CLIENT_ID, CLIENT_SECRET

LANDING: Final = "/Volumes/main/dxr/landing"
_CONCURRENT_MAX: Final = 100  # more than four streams ask at once: no wait of a quota is measured


def variables(address: str) -> dict[str, str]:
    """What a service must know to land there."""
    return {
        "LANDING_PATH": LANDING,
        "DATABRICKS_HOST": address,
        "DATABRICKS_CLIENT_ID": CLIENT_ID,
        "DATABRICKS_CLIENT_SECRET": CLIENT_SECRET,
    }


async def _serve(root: Path) -> None:
    async with DatabricksSimulator(root) as workspace:
        workspace.concurrent_max = _CONCURRENT_MAX
        workspace.volume("main", "dxr", "landing")
        sys.stdout.write(f"listening on {workspace.url}\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
