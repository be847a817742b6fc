"""What befalls a run besides its stream: the day ends, everybody asks at once."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING

import pytest

from service import wiring
from service.errors import StoreError, exit_code
from service.runs.triggers import SnapshotRequest, resolve_snapshot
from tests.integration.runs import carried_out, commits
from tests.integration.test_api import served, until
from tests.simulators.dxr import DxrSimulator, faults
from tests.simulators.dxr.hostile import Lines

if TYPE_CHECKING:
    from service.wiring import Service
    from tests.conftest import MakeSettings


async def test_run_that_goes_on_after_midnight_keeps_the_date_of_its_trigger(
    dxr: DxrSimulator, make_settings: MakeSettings
) -> None:
    async with wiring.opened(make_settings(dxr_base_url=dxr.url, dxr_retry_attempts=2)) as service:
        yesterday = service.clock.now().date() - dt.timedelta(days=1)
        request = resolve_snapshot(SnapshotRequest(), service.settings, yesterday, "test")
        created = await service.store.create(request)
        dxr.faults.next(faults.MissingTerminalChunk())
        ended = await carried_out(service, created.id)
        [commit] = commits(service)
        assert (ended.attempt, ended.request.ingestion_date, commit["ingestion_date"]) == (
            2,
            str(yesterday),
            str(yesterday),
        )
        assert all(f"ingestion_date={yesterday}/" in chunk["path"] for chunk in commit["chunks"])


async def test_of_many_triggers_at_once_one_starts_a_run(service: Service, dxr: DxrSimulator) -> None:
    dxr.source = Lines(b'{"fileId":"a"}\n')
    gate = faults.Gate(after_rows=1)
    dxr.faults.next(gate)
    async with served(service) as api:
        answers = await asyncio.gather(*(api.post("/v1/snapshots", json={}) for _ in range(10)))
        assert sorted(answer.status_code for answer in answers) == [202] + [409] * 9
        [run_id] = {answer.json().get("run_id") or answer.json()["id"] for answer in answers}
        gate.open()
        await until(api, run_id, "landed")
    assert len(commits(service)) == len(dxr.requests) == 1


async def test_trigger_that_finds_nobody_in_its_way_again_and_again_is_asked_to_come_later(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever run was in the way is gone before it could be named."""
    request = resolve_snapshot(SnapshotRequest(), service.settings, service.clock.now().date(), "test")
    await service.store.create(request)

    async def gone(*_where: object) -> None:
        return None

    monkeypatch.setattr(service.store, "_one", gone)
    with pytest.raises(StoreError) as caught:
        await service.store.create(request)
    assert (caught.value.code, exit_code(caught.value.code), caught.value.retryable) == ("STORE_BUSY", 5, True)
