"""What the supervisor promises when things go wrong at the worst moment."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from service import wiring
from service.errors import LandingError
from service.landing.folder import FolderLanding
from service.runs.execution import Work
from service.runs.model import Run, State
from service.runs.supervisor import Supervisor, request_cancel
from service.runs.triggers import SnapshotRequest, resolve_snapshot
from service.snapshot.progress import Progress
from tests.integration.runs import commits, root, snapshot
from tests.simulators.dxr import faults

if TYPE_CHECKING:
    from pathlib import Path

    from service.landing.port import Before
    from service.wiring import Service
    from tests.conftest import MakeSettings
    from tests.simulators.dxr import DxrSimulator


class PublishesThenFails(FolderLanding):
    """The commit's name is made, then the disk says no: the outcome is unknown to the caller."""

    async def put_new(self, path: str, content: bytes, before: Before | None = None) -> None:
        await super().put_new(path, content, before)
        raise LandingError("LANDING_UNAVAILABLE", "the folder could not be synced", "try again")


@dataclass
class Held:
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)


class HoldsThePut(FolderLanding):
    """A put that takes as long as the test wants."""

    def __init__(self, root: Path, held: Held) -> None:
        super().__init__(root)
        self._held = held

    async def put_new(self, path: str, content: bytes, before: Before | None = None) -> None:
        self._held.reached.set()
        await self._held.release.wait()
        await super().put_new(path, content, before)


def with_landing(service: Service, landing: FolderLanding) -> Service:
    return replace(service, execution=replace(service.execution, landing=landing))


async def queued(service: Service, **asked: Any) -> Run:
    today = service.clock.now().date()
    return await service.store.create(resolve_snapshot(SnapshotRequest(**asked), service.settings, today, "test"))


async def until(service: Service, run_id: str, *states: State) -> Run:
    async with asyncio.timeout(20):
        while (run := await service.store.get(run_id)).state not in states:  # noqa: ASYNC110
            await asyncio.sleep(0)
    return run


async def test_a_commit_of_unknown_outcome_is_never_doubled(dxr: DxrSimulator, make_settings: MakeSettings) -> None:
    async with wiring.opened(make_settings(dxr_base_url=dxr.url, dxr_retry_attempts=3)) as service:
        run = await snapshot(with_landing(service, PublishesThenFails(root(service))))
        assert (run.state, run.attempt, run.error) == (State.LANDED, 1, None)
        assert len(commits(service)) == 1
        assert len(dxr.requests) == 1


async def test_a_cancel_while_publishing_ends_as_the_landing_says(service: Service) -> None:
    held = Held()
    execution = with_landing(service, HoldsThePut(root(service), held)).execution
    supervisor = Supervisor(service.store, service.claims, execution)
    async with supervisor.working():
        run = await queued(service)
        supervisor.wake()
        await held.reached.wait()
        assert await supervisor.cancel(run.id) is not None
        for _ in range(3):  # whoever looks again must not cancel again
            await supervisor._look()
        held.release.set()
        assert (await until(service, run.id, State.LANDED, State.CANCELLED)).state is State.LANDED
    assert len(commits(service)) == 1


async def test_a_cancel_asked_before_a_crash_is_kept(service: Service) -> None:
    run = await queued(service)
    await service.claims.claim(run.id)
    await service.store.request_cancel(run.id)
    await service.claims.release_all()
    async with service.supervisor.working():  # the next process
        assert (await until(service, run.id, State.LANDED, State.CANCELLED)).state is State.CANCELLED
    assert commits(service) == []


async def test_a_commit_that_cannot_be_read_blocks_only_its_run(service: Service) -> None:
    broken = await queued(service, ingestion_date="2026-01-01")
    await service.claims.claim(broken.id)
    await service.claims.release_all()
    path = root(service) / "commits" / f"file_metadata.{1:020d}.{broken.id}.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    async with service.supervisor.working():
        failed = await until(service, broken.id, State.FAILED)
        assert failed.error is not None
        assert failed.error.code == "LANDING_DOCUMENT"
        good = await queued(service)
        assert (await until(service, good.id, State.LANDED)).counts["rows"] == 500


async def test_one_bad_look_does_not_end_all_looking(service: Service) -> None:
    async with service.store.database.begin() as connection:
        from service.runs.schema import metadata

        await connection.run_sync(metadata.drop_all)
    async with service.supervisor.working():
        await asyncio.sleep(0)
        async with service.store.database.begin() as connection:
            await connection.run_sync(metadata.create_all)
        run = await queued(service)
        service.supervisor.wake()
        assert (await until(service, run.id, State.LANDED)).state is State.LANDED


async def test_cancelling_a_queued_run_needs_no_worker(service: Service) -> None:
    run = await queued(service)
    cancelled = await request_cancel(service.store, run.id)
    assert cancelled is not None
    assert cancelled.state is State.CANCELLED
    assert await request_cancel(service.store, run.id) is None


async def test_a_netrc_of_the_user_changes_nothing(
    dxr: DxrSimulator, service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login someone password else\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert (await snapshot(service)).state is State.LANDED
    assert dxr.requests[0].token_ok


@pytest.mark.parametrize(("hops", "state"), [(3, State.LANDED), (4, State.FAILED)])
async def test_three_redirects_are_followed_and_no_more(
    hops: int, state: State, service: Service, dxr: DxrSimulator
) -> None:
    dxr.faults.next(faults.Redirect("/api/v1/files"), times=hops)
    assert (await snapshot(service)).state is state


@pytest.mark.parametrize("location", ["mailto:someone", "http://[", "http://127.0.0.1:1/"])
async def test_odd_redirects_are_refused(location: str, service: Service, dxr: DxrSimulator) -> None:
    dxr.faults.next(faults.Redirect(location))
    run = await snapshot(service)
    assert run.error is not None
    assert run.error.code == "DXR_REDIRECTED"


async def test_progress_is_told_while_the_stream_lives(service: Service, dxr: DxrSimulator) -> None:
    gate = faults.Gate(after_rows=400)
    dxr.faults.next(gate)
    run = await queued(service)
    claim = await service.claims.claim(run.id)
    assert claim is not None
    work = Work(claim)
    progress = work.progress
    assert isinstance(progress, Progress)
    task = work.begin(service.execution)
    await gate.reached()
    async with asyncio.timeout(20):
        while progress.rows < 400:  # noqa: ASYNC110
            await asyncio.sleep(0)
        while not (await service.store.get(run.id)).progress:  # noqa: ASYNC110
            await asyncio.sleep(0)
    gate.open()
    await task
