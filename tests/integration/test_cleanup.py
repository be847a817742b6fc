"""The clean-up with a real run store: what the store says of a run, and what real runs leave behind."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING

import uuid_utils

from service.landing.cleanup import clean
from service.runs.model import Kind, Request, State
from tests.integration.runs import commits, root, snapshot
from tests.simulators.dxr import faults

if TYPE_CHECKING:
    from service.runs.model import Run
    from service.wiring import Service
    from tests.simulators.dxr import DxrSimulator


async def test_the_store_says_which_runs_have_ended(service: Service, dxr: DxrSimulator) -> None:
    async def queued(dataset: str) -> Run:
        request = Request(Kind.SNAPSHOT, dataset, "2026-11-22", None, None, accept_shrunken=False, trigger="test")
        return await service.store.create(request)

    dxr.faults.next(faults.CutAfterRows(400))
    ended = [await snapshot(service), await snapshot(service), await queued("cancelled")]
    assert [run.state for run in ended] == [State.FAILED, State.LANDED, State.QUEUED]
    await service.store.cancel_queued(ended[2].id)
    waiting = await queued("waiting")

    known = {run.id: True for run in ended} | {waiting.id: False}
    others = {str(uuid_utils.uuid7()) for _ in range(2_000)}
    assert await service.store.ended(others | set(known)) == known
    assert await service.store.ended(set()) == {}


async def test_what_real_runs_leave_behind(service: Service, dxr: DxrSimulator) -> None:
    dxr.faults.next(faults.CutAfterRows(400))
    assert (await snapshot(service)).state is State.FAILED
    landed = await snapshot(service)
    [commit] = commits(service)
    now = dt.datetime.now(dt.UTC)
    receipt = root(service) / "receipts" / f"{landed.id}.json"
    receipt.parent.mkdir()
    verdict = {"format": 1, "run_id": landed.id, "state": "ingested", "ingested_at": now.isoformat()}
    receipt.write_text(json.dumps(verdict))

    async def chunks_left(days: int) -> set[str]:
        report = await clean(service.landing, service.store.ended, 30, now + dt.timedelta(days=days), dry_run=False)
        assert report.failed == []
        return {path.relative_to(root(service)).as_posix() for path in (root(service) / "chunks").rglob("*.gz")}

    assert await chunks_left(0) == {chunk["path"] for chunk in commit["chunks"]}
    assert await chunks_left(29) == {chunk["path"] for chunk in commit["chunks"]}
    assert await chunks_left(30) == set()
    assert commits(service) == [commit]
    assert receipt.is_file()
    assert not (root(service) / "chunks").exists()
