"""A run whose process is gone goes on in another one: two services on one PostgreSQL, and one that dies."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from service import wiring
from service.runs.execution import Work
from service.runs.model import State
from service.runs.schema import runs
from service.runs.triggers import ClassificationRequest, SnapshotRequest, resolve_classification, resolve_snapshot
from tests.integration.runs import carried_out, commits, stored_lines
from tests.integration.test_classification import (  # noqa: F401 - fixtures
    expected_labels,
    files_of,
    records,
    settings,
    tenant,
    volume,
)
from tests.simulators.dxr import DxrSimulator, GeneratedFiles, faults
from tests.simulators.dxr import classifier_faults as odc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from service.wiring import Service
    from tests.conftest import MakeSettings


@contextlib.asynccontextmanager
async def two(make: Any, database_url: str, *arguments: Any, **more: Any) -> AsyncIterator[tuple[Service, Service]]:
    """Two replicas on one database and one landing."""
    one = make(*arguments, database_url=database_url, **more)
    async with wiring.opened(one) as first, wiring.opened(one) as second:
        yield first, second


async def dies(work: Work, task: asyncio.Task[None], service: Service) -> None:
    """As a process that is killed: nothing of it is written any more, and its lease runs out."""
    async with service.store.database.begin() as connection:
        await connection.execute(runs.update().values(fence=runs.c.fence + 1, lease_until_us=1))
    work.drop()
    await task


async def asked_for(service: Service, **asked: Any) -> str:
    request = resolve_classification(ClassificationRequest(**asked), service.settings, service.clock.now().date(), "t")
    return (await service.store.create(request)).id


async def begun(service: Service, run_id: str) -> tuple[Work, asyncio.Task[None]]:
    claim = await service.claims.claim(run_id)
    assert claim is not None
    work = Work(claim)
    return work, work.begin(service.execution)


@pytest.mark.parametrize("point", ["submit", "poll", "search"])
@pytest.mark.parametrize("chunk_bytes", [2000, 1_000_000])
async def test_a_classification_goes_on_without_uploading_again(
    point: str,
    chunk_bytes: int,
    volume: Path,  # noqa: F811
    settings: Any,  # noqa: F811
    database_url: str,
) -> None:
    more = {"dxr_datasource_id": "11", "landing_chunk_bytes": chunk_bytes, "dxr_settle_seconds": 5}
    async with tenant() as dxr, two(settings, database_url, dxr, **more) as (first, second):
        run_id = await asked_for(first)
        hold = odc.Hold(point)
        work, task = await begun(first, run_id)
        while len(dxr.classifier.jobs) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
        dxr.classifier.faults.next(hold)
        await hold.reached()
        dying = asyncio.create_task(dies(work, task, second))
        await asyncio.sleep(0)
        hold.open()
        await dying
        before = len(dxr.classifier.jobs)
        run = await carried_out(second, run_id)
        assert (run.state, run.attempt) == (State.LANDED, 2)
        assert before - 2 <= 1
        uploads = [file.sha256 for job in dxr.classifier.jobs for file in job.files]
        assert len(uploads) == len(set(uploads)) == 12
        assert dxr.classifier.overlaps == []
        found = records(second)
        for relative, path in files_of(volume):
            assert found[relative]["labels"] == expected_labels(dxr, path), relative
        assert (run.counts["scanned"], run.counts["labelled"]) == (12, 12)
        [commit] = commits(second)
        assert commit["rows"] == 12
        assert commit["sequence"] == run.sequence
        if chunk_bytes == 2000 and before > 2:
            attempts = {chunk["path"].split("/")[4] for chunk in commit["chunks"]}
            assert "attempt=1" in attempts


async def test_what_a_drained_process_had_open_need_not_be_searched_again(
    volume: Path,  # noqa: F811
    settings: Any,  # noqa: F811
    database_url: str,
) -> None:
    more = {"dxr_datasource_id": "11"}
    async with tenant() as dxr, two(settings, database_url, dxr, **more) as (first, second):
        run_id = await asked_for(first)
        async with first.supervisor.working():
            first.supervisor.wake()
            while len(dxr.classifier.jobs) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0)
            hold = odc.Hold("poll")
            dxr.classifier.faults.next(hold)
            await hold.reached()
            draining = asyncio.create_task(first.supervisor.drain(60, 60))
            await asyncio.sleep(0)
            hold.open()
            await draining
        assert (await second.store.get(run_id)).state is State.QUEUED
        run = await carried_out(second, run_id)
        assert (run.state, run.counts["labelled"]) == (State.LANDED, 12)
        [commit] = commits(second)
        assert {chunk["path"].split("/")[4] for chunk in commit["chunks"]} == {"attempt=1", "attempt=2"}
        assert len(dxr.classifier.jobs) == 3


async def test_two_runs_never_share_a_datasource(
    volume: Path,  # noqa: F811
    settings: Any,  # noqa: F811
    database_url: str,
) -> None:
    more = {"dxr_datasource_id": "11,12", "dxr_max_files_per_job": 2, "database_url": database_url}
    async with (
        tenant() as dxr,
        wiring.opened(settings(dxr, **more)) as first,
        wiring.opened(settings(dxr, classification_dataset="others", **more)) as second,
    ):
        ids = [await asked_for(first), await asked_for(second)]
        done = await asyncio.gather(carried_out(first, ids[0]), carried_out(second, ids[1]))
        assert [run.state for run in done] == [State.LANDED, State.LANDED]
        assert [run.counts["labelled"] + run.counts["unchanged"] for run in done] == [12, 12]
        assert dxr.classifier.overlaps == []


async def test_a_snapshot_starts_anew_and_the_old_process_can_publish_nothing(
    make_settings: MakeSettings, database_url: str, dxr: DxrSimulator
) -> None:
    async with two(make_settings, database_url, dxr_base_url=dxr.url) as (first, second):
        today = first.clock.now().date()
        run_id = (await first.store.create(resolve_snapshot(SnapshotRequest(), first.settings, today, "t"))).id
        gate = faults.Gate(after_rows=400)
        dxr.faults.next(gate)
        _, task = await begun(first, run_id)
        await gate.reached()
        async with first.store.database.begin() as connection:
            await connection.execute(runs.update().values(lease_until_us=1))
        run = await carried_out(second, run_id)
        assert (run.state, run.attempt) == (State.LANDED, 2)
        gate.open()  # the frozen process wakes up and reads its stream to the end
        await task
        [commit] = commits(second)
        assert commit["run_id"] == run_id
        assert stored_lines(second, commit["chunks"]) == b"".join(GeneratedFiles(rows=500, seed=7).blocks())
        assert (await second.store.get(run_id)).state is State.LANDED


async def test_too_many_take_overs_end_a_run(make_settings: MakeSettings, database_url: str, dxr: DxrSimulator) -> None:
    async with two(make_settings, database_url, dxr_base_url=dxr.url, run_takeovers_max=2) as (first, second):
        today = first.clock.now().date()
        run_id = (await first.store.create(resolve_snapshot(SnapshotRequest(), first.settings, today, "t"))).id
        for _ in range(3):
            assert await first.claims.claim(run_id) is not None
            async with first.store.database.begin() as connection:
                await connection.execute(runs.update().values(lease_until_us=1))
        run = await carried_out(second, run_id)
        assert run.error is not None
        assert (run.state, run.error.code) == (State.FAILED, "TAKEOVERS_EXHAUSTED")
