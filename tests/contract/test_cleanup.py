"""What a clean-up removes and keeps, in a folder and in a volume; and what may happen while it looks."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import pytest_asyncio

from service.databricks.files import Files
from service.errors import LandingError, StoreError
from service.landing import cleanup, layout
from service.landing.cleanup import Report, clean
from service.landing.documents import Chunk, Commit, Receipt, encode
from service.landing.folder import FolderLanding
from service.landing.retention import Reason
from service.landing.volume import VolumeLanding
from tests.simulators.databricks import DatabricksSimulator, faults
from tests.workspaces import PASSING, connected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection
    from pathlib import Path

    from service.landing.port import Landing, Stored

NOW = dt.datetime.now(dt.UTC)
DAYS = 30
DATASET = "file_metadata"


@pytest_asyncio.fixture(params=["folder", "volume", "volume where one request in ten fails"])
async def landing(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Landing]:
    if request.param == "folder":
        yield FolderLanding(tmp_path / "landing")
        return
    async with DatabricksSimulator(tmp_path) as databricks, connected(databricks) as workspace:
        databricks.volume("main", "dxr", "landing")
        databricks.page_size_max = 2
        if "fails" in request.param:
            databricks.faults.randomly(0.1, 5, PASSING)
        yield VolumeLanding("/Volumes/main/dxr/landing", Files(workspace))


def run_id(number: int) -> str:
    return f"01a202f8-192e-72ad-935a-{number:012d}"


def chunk_path(run: int, attempt: int = 1, name: str = "part-00000.jsonl.gz") -> str:
    return f"{layout.attempt_folder(DATASET, '2026-11-22', run_id(run), attempt)}/{name}"


def commit_path(run: int) -> str:
    return layout.CommitName(1_000 + run, run_id(run), DATASET).path


async def stored(landing: Landing, *paths: str) -> None:
    for path in paths:
        part = landing.new_part(path)
        part.write(b"7 bytes")
        await landing.publish(part, 7)


async def committed(landing: Landing, run: int, *paths: str, rejects: tuple[str, ...] = (), **more: Any) -> None:
    await landing.put_new(commit_path(run), encode(commit(run, *paths, rejects=rejects, **more)))


def commit(run: int, *paths: str, rejects: tuple[str, ...] = (), **more: Any) -> Commit:
    entries = [Chunk(path, 1, 7, 7, "0" * 64) for path in (*paths, *rejects)]
    document = Commit(
        format=1,
        kind="snapshot",
        dataset=DATASET,
        run_id=run_id(run),
        sequence=1_000 + run,
        rows=len(paths),
        chunks=entries[: len(paths)],
        rejects=entries[len(paths) :],
    )
    return msgspec.structs.replace(document, **more)


async def receipted(landing: Landing, run: int, state: str, age_days: float, **more: Any) -> None:
    ingested_at = (NOW - dt.timedelta(days=age_days)).isoformat()
    receipt = Receipt(format=1, run_id=run_id(run), state=state, ingested_at=ingested_at)
    receipt = msgspec.structs.replace(receipt, **more)
    await landing.put_new(layout.receipt_path(run_id(run)), msgspec.json.encode(receipt))


class Runs:
    """A run store that knows these runs, by number."""

    def __init__(self, *, ended: Collection[int] = (), active: Collection[int] = ()) -> None:
        self._known = {run_id(run): True for run in ended} | {run_id(run): False for run in active}

    async def __call__(self, run_ids: Collection[str]) -> dict[str, bool]:
        return {run_id: self._known[run_id] for run_id in run_ids if run_id in self._known}


async def cleaned(landing: Landing, runs: Any, *, now: dt.datetime = NOW, dry_run: bool = False) -> Report:
    return await clean(landing, runs, DAYS, now, dry_run=dry_run)


async def files_of(landing: Landing) -> set[str]:
    return {stored.path async for stored in landing.list("")}


def removed(report: Report) -> dict[str, str]:
    return {one.path: one.reason.value for one in report.removed}


def kept(report: Report) -> dict[str, int]:
    return {reason.value: tally.files for reason, tally in report.of(removed=False).items()}


async def test_file_by_file(landing: Landing) -> None:
    rejects = chunk_path(1, 2, "rejects-00000.jsonl.gz")
    goes = {
        chunk_path(1, 1): "orphaned",  # a failed attempt of a run that landed
        chunk_path(1, 2): "ingested",
        rejects: "ingested",
        chunk_path(2): "superseded",
        chunk_path(3): "orphaned",  # a run without any commit
    }
    stays = {
        chunk_path(4): "active",
        chunk_path(5): "awaited",
        chunk_path(6): "refused",
        chunk_path(7): "retained",
        chunk_path(8): "recent",
        f"chunks/{DATASET}/notes.txt": "foreign",
    }
    await stored(landing, *goes, *stays)
    await committed(landing, 1, chunk_path(1, 2), rejects=(rejects,))
    await receipted(landing, 1, "ingested", DAYS)
    await committed(landing, 2, chunk_path(2))
    await receipted(landing, 2, "superseded", DAYS + 1)
    await committed(landing, 5, chunk_path(5))
    await committed(landing, 6, chunk_path(6))
    await receipted(landing, 6, "refused", 999)
    await committed(landing, 7, chunk_path(7))
    await receipted(landing, 7, "ingested", DAYS - 1)
    before = await files_of(landing)
    runs = Runs(ended=[1, 3, 5, 6, 7], active=[4])

    rehearsed = await cleaned(landing, runs, dry_run=True)
    assert await files_of(landing) == before
    report = await cleaned(landing, runs)
    assert removed(report) == removed(rehearsed) == goes
    assert kept(report) == kept(rehearsed) == dict.fromkeys(stays.values(), 1)
    assert report.total(removed=True).bytes == 7 * len(goes)
    assert await files_of(landing) == before - set(goes)
    assert (report.failed, report.unreadable) == ([], set())

    again = await cleaned(landing, runs)
    assert (again.removed, kept(again)) == ([], kept(report))


async def test_chunks_of_nobody_go_when_they_are_old(landing: Landing) -> None:
    await stored(landing, chunk_path(1), chunk_path(2))
    await committed(landing, 2, chunk_path(2))
    assert kept(await cleaned(landing, Runs())) == {"recent": 1, "awaited": 1}
    much_later = NOW + dt.timedelta(days=DAYS + 1)
    report = await cleaned(landing, Runs(), now=much_later)
    assert (removed(report), kept(report)) == ({chunk_path(1): "orphaned"}, {"awaited": 1})


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"format": 1}', encode(commit(1, format=2)), encode(commit(2, chunk_path(2)))],
    ids=["empty", "torn", "lacking", "format 2", "of another run"],
)
async def test_a_commit_that_cannot_be_read_protects_its_run(landing: Landing, content: bytes) -> None:
    await stored(landing, chunk_path(1), chunk_path(1, 2), chunk_path(3))
    await landing.put_new(commit_path(1), content)
    await receipted(landing, 1, "ingested", 999)
    report = await cleaned(landing, Runs(ended=[1, 3]))
    assert removed(report) == {chunk_path(3): "orphaned"}
    assert kept(report) == {"unreadable": 2}
    assert report.unreadable == {commit_path(1)}


@pytest.mark.parametrize("content", [b"", b"{", b'{"format": 2, "run_id": "x", "state": "ingested"}'])
async def test_a_receipt_that_cannot_be_read_is_none(landing: Landing, content: bytes) -> None:
    await stored(landing, chunk_path(1))
    await committed(landing, 1, chunk_path(1))
    await landing.put_new(layout.receipt_path(run_id(1)), content)
    report = await cleaned(landing, Runs(ended=[1]))
    assert kept(report) == {"awaited": 1}
    assert report.unreadable == {layout.receipt_path(run_id(1))}


async def test_a_receipt_that_names_another_run_is_none(landing: Landing) -> None:
    await stored(landing, chunk_path(1))
    await committed(landing, 1, chunk_path(1))
    await receipted(landing, 1, "ingested", 999, run_id=run_id(2))
    assert kept(await cleaned(landing, Runs(ended=[1]))) == {"awaited": 1}


async def test_a_run_that_lands_while_the_clean_up_looks_keeps_its_chunks(landing: Landing) -> None:
    """The chunks were listed while it ran; by the time of the question it has committed and ended."""

    class Landing(Runs):
        async def __call__(self, run_ids: Collection[str]) -> dict[str, bool]:
            await committed(landing, 1, chunk_path(1))
            return await super().__call__(run_ids)

    await stored(landing, chunk_path(1), chunk_path(2))
    report = await cleaned(landing, Landing(ended=[1, 2]))
    assert (removed(report), kept(report)) == ({chunk_path(2): "orphaned"}, {"awaited": 1})
    assert chunk_path(1) in await files_of(landing)


async def test_a_commit_between_the_two_listings_protects_its_chunks(landing: Landing) -> None:
    """Old chunks of another store's run, which commits them at this very moment."""

    class Committing:
        def __getattr__(self, name: str) -> Any:
            return getattr(landing, name)

        async def list(self, folder: str) -> AsyncIterator[Stored]:
            if folder == layout.COMMITS:
                await committed(landing, 1, chunk_path(1))
            async for stored in landing.list(folder):
                yield stored

    await stored(landing, chunk_path(1), chunk_path(2))
    report = await cleaned(Committing(), Runs(), now=NOW + dt.timedelta(days=DAYS + 1))
    assert (removed(report), kept(report)) == ({chunk_path(2): "orphaned"}, {"awaited": 1})


async def test_many_chunks_are_judged_in_batches(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup, "_CHUNKS_AT_ONCE_MAX", 2)
    names = [f"part-{number:05d}.jsonl.gz" for number in range(3)]
    goes = {chunk_path(run, name=name) for run in (1, 2) for name in names}
    stays = {chunk_path(3, name=name) for name in names}
    await stored(landing, *goes, *stays)
    await committed(landing, 3, *stays)
    report = await cleaned(landing, Runs(ended=[1, 2, 3]))
    assert (set(removed(report)), kept(report)) == (goes, {"awaited": 3})


async def test_an_empty_landing_is_clean(landing: Landing) -> None:
    report = await cleaned(landing, Runs())
    assert (report.removed, report.tallies) == ([], {})


async def test_a_store_that_is_away_removes_nothing(landing: Landing) -> None:
    async def away(_run_ids: Collection[str]) -> dict[str, bool]:
        raise StoreError("STORE_UNAVAILABLE", "away")

    await stored(landing, chunk_path(1))
    with pytest.raises(StoreError):
        await cleaned(landing, away)
    assert await files_of(landing) == {chunk_path(1)}


async def test_a_file_that_cannot_be_deleted_stops_no_other(landing: Landing) -> None:
    class Clinging:
        def __getattr__(self, name: str) -> Any:
            return getattr(landing, name)

        async def delete(self, path: str) -> None:
            if path == chunk_path(1):
                raise LandingError("LANDING_FORBIDDEN", f"{path} could not be used in the landing.")
            await landing.delete(path)

    await stored(landing, chunk_path(1), chunk_path(2))
    report = await cleaned(Clinging(), Runs(ended=[1, 2]))
    assert removed(report) == {chunk_path(2): "orphaned"}
    assert [(one.path, one.code) for one in report.failed] == [(chunk_path(1), "LANDING_FORBIDDEN")]
    assert report.tallies[Reason.ORPHANED].files == 1
    assert await files_of(landing) == {chunk_path(1)}


async def test_databricks_may_refuse_one_deletion(tmp_path: Path) -> None:
    async with DatabricksSimulator(tmp_path) as databricks, connected(databricks) as workspace:
        databricks.volume("main", "dxr", "landing")
        landing = VolumeLanding("/Volumes/main/dxr/landing", Files(workspace))
        await stored(landing, chunk_path(1), chunk_path(2), chunk_path(3))
        for run, status in ((1, 403), (2, 503)):
            refused = chunk_path(run)
            databricks.faults.always(
                faults.status(status), on=lambda method, path, refused=refused: method == "DELETE" and refused in path
            )
        report = await cleaned(landing, Runs(ended=[1, 2, 3]))
    assert removed(report) == {chunk_path(3): "orphaned"}
    assert {one.path for one in report.failed} == {chunk_path(1), chunk_path(2)}


async def test_runs_that_land_beside_clean_ups_lose_nothing(landing: Landing) -> None:
    states: dict[str, bool] = {}
    done = asyncio.Event()

    async def states_of(run_ids: Collection[str]) -> dict[str, bool]:
        return {run_id: states[run_id] for run_id in run_ids}

    async def clean_until_done() -> None:
        while not done.is_set():
            await cleaned(landing, states_of)
            await asyncio.sleep(0)

    cleaning = asyncio.create_task(clean_until_done())
    try:
        for run in range(5):
            states[run_id(run)] = False
            await stored(landing, chunk_path(run, 1), chunk_path(run, 2))
            await committed(landing, run, chunk_path(run, 2))
            states[run_id(run)] = True
    finally:
        done.set()
        await cleaning
    await cleaned(landing, states_of)
    assert await files_of(landing) == {path for run in range(5) for path in (chunk_path(run, 2), commit_path(run))}
