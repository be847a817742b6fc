"""The service over HTTP, for tests."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import httpx2
import uvicorn

from service.api.app import create_app
from service.api.auth import tokens_of
from service.api.connection import Bounds, HttpConfig
from tests.simulators.dxr import faults

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.wiring import Service
    from tests.simulators.dxr import DxrSimulator

FULL, READ_ONLY = "full-" + "f" * 32, "read-" + "r" * 32


@contextlib.asynccontextmanager
async def served(service: Service, bounds: Bounds | None = None) -> AsyncIterator[httpx2.AsyncClient]:
    """The application behind a real socket as `serve` opens it, its supervisor at work."""
    app = create_app(service, tokens_of(service.settings))
    server = uvicorn.Server(HttpConfig(app, "127.0.0.1", 0, closing_s=1, bounds=bounds))
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    loop = asyncio.create_task(server.main_loop())
    try:
        async with (
            service.supervisor.working(),
            httpx2.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {FULL}"}, timeout=30
            ) as client,
        ):
            yield client
    finally:
        server.should_exit = True
        await loop
        await server.shutdown()


async def streaming(api: httpx2.AsyncClient, dxr: DxrSimulator) -> tuple[faults.Gate, str]:
    """A run that has come to its tenth row and waits there, by its id, until the gate is opened."""
    gate = faults.Gate(after_rows=10)
    dxr.faults.next(gate)
    run_id = (await api.post("/v1/snapshots", json={})).json()["id"]
    await gate.reached()
    return gate, run_id


async def until(api: httpx2.AsyncClient, run_id: str, *states: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            run = (await api.get(f"/v1/runs/{run_id}")).json()
            if run["state"] in states:
                return run
            await asyncio.sleep(0)


def is_problem(response: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    body = response.json()
    assert (response.status_code, body["status"], body["code"]) == (status, status, code)
    assert response.headers["content-type"] == "application/problem+json"
    assert body["detail"]
    return body
