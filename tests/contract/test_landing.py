"""What every landing must do, whatever stores it: one suite over all implementations."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from service.databricks.files import Files
from service.errors import LandingError
from service.landing.folder import FolderLanding
from service.landing.volume import VolumeLanding
from tests.simulators.databricks import DatabricksSimulator
from tests.workspaces import PASSING, connected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.landing.port import Landing


@pytest_asyncio.fixture(params=["folder", "volume", "volume where one request in ten fails"])
async def landing(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Landing]:
    if request.param == "folder":
        yield FolderLanding(tmp_path / "landing")
        return
    async with DatabricksSimulator(tmp_path) as databricks, connected(databricks) as workspace:
        databricks.volume("main", "dxr", "landing")
        databricks.page_size_max = 3
        if "fails" in request.param:
            databricks.faults.randomly(0.1, 5, PASSING)
        yield VolumeLanding("/Volumes/main/dxr/landing/below/here", Files(workspace))


async def listed(landing: Landing, folder: str) -> dict[str, int]:
    return {stored.path: stored.size_bytes async for stored in landing.list(folder)}


async def stored_part(landing: Landing, path: str, content: bytes) -> None:
    part = landing.new_part(path)
    part.write(content)
    await landing.publish(part, len(content))


async def test_a_part_is_seen_only_when_it_is_published(landing: Landing) -> None:
    part = landing.new_part("chunks/d/part-00000.jsonl.gz")
    part.write(b"one ")
    part.write(b"two")
    assert await listed(landing, "chunks") == {}
    assert await listed(landing, "chunks") == {}
    await landing.publish(part, 7)
    assert await listed(landing, "chunks") == {"chunks/d/part-00000.jsonl.gz": 7}
    assert await landing.read("chunks/d/part-00000.jsonl.gz") == b"one two"


async def test_a_part_of_another_size_is_refused(landing: Landing) -> None:
    part = landing.new_part("chunks/d/part-00000.jsonl.gz")
    part.write(b"seven b")
    with pytest.raises(LandingError) as caught:
        await landing.publish(part, 8)
    assert caught.value.code == "LANDING_SIZE"
    part.discard()
    assert await listed(landing, "chunks") == {}


async def test_a_discarded_part_leaves_nothing(landing: Landing) -> None:
    part = landing.new_part("chunks/d/part-00000.jsonl.gz")
    part.write(b"x")
    part.discard()
    part.discard()
    assert await listed(landing, "") == {}


async def test_put_new_writes_once(landing: Landing) -> None:
    await landing.put_new("commits/a.json", b"{}")
    await landing.put_new("commits/a.json", b"{}")
    with pytest.raises(LandingError) as caught:
        await landing.put_new("commits/a.json", b'{"other": 1}')
    assert caught.value.code == "LANDING_CONFLICT"
    assert await landing.read("commits/a.json") == b"{}"
    assert await listed(landing, "commits") == {"commits/a.json": 2}


async def test_of_many_writers_of_one_name_one_wins(landing: Landing) -> None:
    contents = [b"%03d" % number for number in range(20)]
    outcomes = await asyncio.gather(
        *(landing.put_new("commits/a.json", content) for content in contents), return_exceptions=True
    )
    winners = [content for content, outcome in zip(contents, outcomes, strict=True) if outcome is None]
    assert len(winners) == 1
    assert await landing.read("commits/a.json") == winners[0]
    assert all(outcome is None or isinstance(outcome, LandingError) for outcome in outcomes)


async def test_what_is_not_there_reads_as_none_and_lists_as_nothing(landing: Landing) -> None:
    assert await landing.read("receipts/none.json") is None
    assert await listed(landing, "receipts") == {}
    await landing.delete("receipts/none.json")


async def test_lists_at_any_depth_and_deletes(landing: Landing) -> None:
    await stored_part(landing, "chunks/d/run_id=1/attempt=1/part-00000.jsonl.gz", b"a")
    await stored_part(landing, "chunks/d/run_id=1/attempt=2/part-00000.jsonl.gz", b"bc")
    await landing.put_new("commits/x.json", b"{}")
    assert len(await listed(landing, "chunks")) == 2
    await landing.delete("chunks/d/run_id=1/attempt=1/part-00000.jsonl.gz")
    assert await listed(landing, "") == {
        "chunks/d/run_id=1/attempt=2/part-00000.jsonl.gz": 2,
        "commits/x.json": 2,
    }


async def test_an_impossible_root_is_an_error_with_advice() -> None:
    landing = FolderLanding(Path("/proc/nowhere"))
    with pytest.raises(LandingError) as caught:
        await landing.put_new("commits/a.json", b"{}")
    assert caught.value.code.startswith("LANDING_")
    assert caught.value.hint
    with pytest.raises(LandingError):
        landing.new_part("chunks/a")


async def test_a_full_disk_has_its_own_code(tmp_path: Path) -> None:
    part = FolderLanding(tmp_path).new_part("chunks/a")
    part._file.close()
    with Path("/dev/full").open("wb", buffering=0) as part._file, pytest.raises(LandingError) as caught:  # noqa: ASYNC230
        part.write(b"x")
    assert caught.value.code == "LANDING_FULL"
    part.discard()


async def test_deleting_the_last_file_of_a_folder_removes_the_folder(tmp_path: Path) -> None:
    landing = FolderLanding(tmp_path)
    await stored_part(landing, "chunks/d/attempt=1/part-00000.jsonl.gz", b"a")
    await landing.delete("chunks/d/attempt=1/part-00000.jsonl.gz")
    assert list(tmp_path.iterdir()) == []
