"""The service speaks to the hosts that it is told of, and to nobody else: there is no telemetry to turn off."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp

from tests.conftest import TOKEN
from tests.simulators.databricks import DatabricksSimulator
from tests.simulators.dxr import Classifier, DxrSimulator, GeneratedFiles

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[2]


def places(noted: Path) -> set[str]:
    """The names that were looked up and the addresses that were connected to."""
    found = set[str]()
    for line in noted.read_text().splitlines():
        kind, _, what = line.partition(" ")
        address = re.fullmatch(r"\('([^']+)', (\d+).*\)", what)
        found.add(f"{address[1]}:{address[2]}" if address else f"{kind} {what}")
    return found


def allowed(urls: Iterable[str]) -> set[str]:
    parts = [urlsplit(url) for url in urls]
    return {f"{part.hostname}:{part.port}" for part in parts} | {f"name {part.hostname}" for part in parts}


async def test_only_the_hosts_of_the_settings_are_connected_to(tmp_path: Path) -> None:
    """A whole service with a landing in a volume, a snapshot, a classification of a volume, metrics and receipts."""
    (tmp_path / "volumes" / "main" / "legal" / "contracts").mkdir(parents=True)
    (tmp_path / "volumes" / "main" / "legal" / "contracts" / "a.txt").write_text("label: A\n")
    noted = tmp_path / "noted"
    async with (
        DxrSimulator(GeneratedFiles(50, seed=1), tokens=(TOKEN,), classifier=Classifier(datasources=("11",))) as dxr,
        DatabricksSimulator(tmp_path / "volumes") as databricks,
    ):
        databricks.volume("main", "dxr", "landing")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.e2e.hooked", str(noted), "serve", "--port", "0"),
            cwd=ROOT,
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": str(tmp_path),
                "STATE_DIR": str(tmp_path / "state"),
                "DXR_BASE_URL": dxr.url,
                "DXR_BEARER_TOKEN": TOKEN,
                "LANDING_PATH": "/Volumes/main/dxr/landing",
                "DATABRICKS_HOST": databricks.url,
                "DATABRICKS_CLIENT_ID": databricks.client_id,
                "DATABRICKS_CLIENT_SECRET": databricks.client_secret,
                "VOLUME_CATALOG": "main",
                "VOLUME_SCHEMA": "legal",
                "VOLUME_NAME": "contracts",
                "DXR_DATASOURCE_ID": "11",
                "DXR_POLL_INTERVAL_SECONDS": "0.01",
                "RECEIPT_POLL_SECONDS": "0.1",
                # Libraries here look for these.
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
                "OTEL_TRACES_EXPORTER": "otlp",
            },
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        try:
            async with asyncio.timeout(120), aiohttp.ClientSession() as http:
                while not (found := re.search(rb'"address": "([^"]+)"', line := await process.stderr.readline())):
                    assert line, await process.wait()
                address = found[1].decode()
                for route in ("snapshots", "classifications"):
                    async with http.post(f"{address}/v1/{route}", json={}) as answer:
                        run = await answer.json()
                    while b'"run_ended"' not in (line := await process.stderr.readline()):
                        assert line
                    async with http.get(f"{address}/v1/runs/{run['id']}") as answer:
                        assert (await answer.json())["state"] == "landed"
                for page in ("/metrics", "/openapi.json", "/readyz"):
                    async with http.get(address + page) as answer:
                        assert answer.status == 200
        finally:
            process.terminate()
            await process.communicate()
        # It listens by name too.
        assert places(noted) - {"name 127.0.0.1"} <= allowed([dxr.url, databricks.url])
        assert places(noted) >= {one for one in allowed([dxr.url, databricks.url]) if not one.startswith("name")}
