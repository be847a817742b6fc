"""A real service over a simulated tenant, with a past, for whoever looks at its page."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from playwright.async_api import Browser, async_playwright

from scripts.chromium import on_path
from service import wiring
from service.clock import SystemClock, as_text
from service.runs.receipts import note_receipts
from service.runs.triggers import SnapshotRequest, resolve_snapshot
from tests.conftest import TOKEN
from tests.integration.runs import root
from tests.integration.serving import served, until
from tests.simulators.dxr import DxrSimulator, GeneratedFiles

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

    from service.runs.model import Run
    from service.settings import Settings
    from service.wiring import Service
    from tests.simulators.dxr.sources import RowBlocks
    from tests.simulators.dxr.wire import Wire


class TravelClock(SystemClock):
    """The time of this machine, or as much earlier as is said."""

    def __init__(self) -> None:
        self.back = dt.timedelta()

    def now(self) -> dt.datetime:
        return super().now() - self.back


@dataclass(frozen=True, slots=True)
class Steps:
    """Rows come when they are asked for; without an answer to how many, the rest and a proper end."""

    _asked: asyncio.Queue[int | None] = field(default_factory=asyncio.Queue, repr=False, compare=False)

    def serve(self, rows: int) -> None:
        self._asked.put_nowait(rows)

    def finish(self) -> None:
        self._asked.put_nowait(None)

    async def answer(self, wire: Wire, rows: RowBlocks) -> None:
        await wire.head()
        while (count := await self._asked.get()) is not None:
            await wire.pour(rows.take_rows(count))
        await wire.pour(rows.take_rest())
        await wire.end()


@dataclass(frozen=True, slots=True)
class World:
    """What a test or a camera moves."""

    dxr: DxrSimulator
    service: Service
    clock: TravelClock
    api: httpx2.AsyncClient

    @property
    def url(self) -> str:
        return str(self.api.base_url).rstrip("/")

    def date(self, back: int) -> str:
        return (dt.datetime.now(dt.UTC).date() - dt.timedelta(days=back)).isoformat()

    async def day(self, back: int, **asked: Any) -> Run:
        """A run as it was carried out that many days ago at two o'clock, or just now."""
        today = dt.datetime.now(dt.UTC)
        then = dt.datetime.combine(today.date() - dt.timedelta(days=back), dt.time(2), dt.UTC)
        self.clock.back = today - then if back else dt.timedelta()
        try:
            day = self.clock.now().date()
            request = resolve_snapshot(SnapshotRequest(**asked), self.service.settings, day, "api:nightly")
            run = await self.service.store.create(request)
            self.service.supervisor.wake()
            await until(self.api, run.id, "landed", "failed")
            return await self.service.store.get(run.id)
        finally:
            self.clock.back = dt.timedelta()

    async def receive(self, run: Run, **told: Any) -> None:
        """The Spark job's receipt of a run, and the service's look at it."""
        landed = dt.datetime.fromisoformat(run.ended_at or "")
        receipt = {
            "format": 1,
            "run_id": run.id,
            "state": "ingested",
            "table": "main.dxr.file_metadata",
            "table_version": 3,
            "table_rows": run.counts.get("rows", 0),
            "quarantined_rows": run.counts.get("rejected_rows", 0),
            "reason": None,
            "ingested_at": as_text(landed + dt.timedelta(minutes=6)),
        }
        folder = root(self.service) / "receipts"
        folder.mkdir(exist_ok=True)
        (folder / f"{run.id}.json").write_text(json.dumps(receipt | told))
        await note_receipts(self.service.store, self.service.landing)


@contextlib.asynccontextmanager
async def world(settings: Settings, dxr: DxrSimulator) -> AsyncIterator[World]:
    """The service at work behind a socket."""
    clock = TravelClock()
    async with wiring.opened(settings, clock) as service, served(service) as api:
        yield World(dxr, service, clock, api)


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The browser of this machine, else the one that Playwright has fetched; without any, an error says so."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=on_path())
        yield browser
        await browser.close()


def tenant(rows: int = 500) -> DxrSimulator:
    return DxrSimulator(GeneratedFiles(rows=rows, seed=7, mean_bytes=1000), tokens=(TOKEN,))
