"""`dxr-ingest runs watch`: a run until nothing more will happen to it, from the store beside it or from a service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.cli.bar import Telling
from service.clock import SystemClock
from service.runs.watch import RunWatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from service.runs.store import RunStore


async def in_store(store: RunStore, run_id: str) -> dict[str, Any]:
    """The run at its end. Raises `NotFoundError` and `StoreError`."""
    async with RunWatch(store, SystemClock()).following(run_id) as follower:
        return await shown((event.name, event.data) async for event in follower.events())


async def shown(events: AsyncIterable[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Tell each change of state in a line, and the progress between them; the run as it was told last."""
    run: dict[str, Any] = {}
    with Telling() as telling:
        async for name, data in events:
            if name == "run":
                before, run = run, data
                if (before.get("state"), before.get("attempt")) != (run["state"], run["attempt"]):
                    attempt = f", attempt {run['attempt']}" if run["state"] == "running" and run["attempt"] > 1 else ""
                    telling.say(f"{run['state']}{attempt}")
            if name in {"run", "progress"} and data["state"] == "running":
                telling.tell(data["progress"])
            if name == "end" and data["reason"] == "no_receipt":
                telling.say("no receipt within 15 minutes: look at the Spark job")
    return run
