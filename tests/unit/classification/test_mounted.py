"""The scan of a volume: every regular file once, nothing through a link, nothing lost that cannot be read."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from typing import TYPE_CHECKING

import psutil
import pytest

from service.classification.mounted import THREAD, MountedScan, MountedVolume
from service.classification.volume import Unreadable, UnreadableFileError, VolumeFile, clean_prefix, is_below
from service.errors import RefusedError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    volume = tmp_path / "volume"
    for name, content in {"a.txt": "one", "deep/er/b.txt": "four!", "deep/c": "", "deeper/d": "x"}.items():
        path = volume / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return volume


def paths(scan: MountedScan) -> list[str]:
    return sorted(found.relative_path for found in scan)


def test_regular_files_with_size_and_time(root: Path) -> None:
    os.utime(root / "a.txt", ns=(0, 1_700_000_000_123_456_789))
    found = {file.relative_path: file for file in MountedScan(root)}
    assert found["a.txt"] == VolumeFile("a.txt", 3, 1_700_000_000_123)
    assert sorted(found) == ["a.txt", "deep/c", "deep/er/b.txt", "deeper/d"]


def test_a_prefix_covers_folders_and_not_names_that_begin_alike(root: Path) -> None:
    assert paths(MountedScan(root, "deep")) == ["deep/c", "deep/er/b.txt"]
    assert paths(MountedScan(root, "/deep/er/")) == ["deep/er/b.txt"]
    assert is_below("deep/c", "deep")
    assert not is_below("deeper/d", "deep")
    assert is_below("anything", "")


def test_links_fifos_and_devices_are_counted_and_never_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("x")
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "out.txt").symlink_to(tmp_path / "outside" / "secret")
    (root / "loop").symlink_to(root)
    os.mkfifo(root / "pipe")
    scan = MountedScan(root)
    assert paths(scan) == ["a.txt", "deep/c", "deep/er/b.txt", "deeper/d"]
    assert scan.skipped == 4
    with pytest.raises(RefusedError, match="is not there"):
        paths(MountedScan(root, "out"))


def test_names_that_are_no_utf8_fit_into_json(root: Path) -> None:
    (root / os.fsdecode(b"bad-\xff.txt")).write_text("x")
    assert "bad-\\xff.txt" in paths(MountedScan(root))


def test_the_scan_is_lazy(root: Path) -> None:
    first = next(iter(MountedScan(root)))
    assert isinstance(first, VolumeFile | Unreadable)


@pytest.mark.parametrize("where", ["nowhere", "a.txt"])
def test_a_root_that_is_no_folder_fails_the_run(root: Path, where: str) -> None:
    for scan in (MountedScan(root / where), MountedScan(root, where)):
        with pytest.raises(RefusedError) as caught:
            next(iter(scan))
        assert caught.value.code == "VOLUME_UNAVAILABLE"


@pytest.mark.parametrize("prefix", ["..", "a/../..", "../x", "a/\0"])
def test_a_prefix_never_leads_out(prefix: str) -> None:
    with pytest.raises(RefusedError, match="leads out"):
        clean_prefix(prefix)


def test_a_folder_that_vanishes_is_named(root: Path, tmp_path: Path) -> None:
    scan = MountedScan(root)
    found: list[VolumeFile | Unreadable] = []
    for file in scan:
        if not found:
            (root / "deep").rename(tmp_path / "gone")
            (root / "deeper").rename(tmp_path / "gone-too")
        found.append(file)
    assert found[0].relative_path == "a.txt"
    assert sorted(scan.unlisted) == ["deep", "deeper"]
    told = {file.relative_path: file.reason for file in found if isinstance(file, Unreadable)}
    assert told == dict.fromkeys(("deep", "deeper"), "the folder cannot be listed: No such file or directory")


@pytest.mark.parametrize("pieces_read", [0, 4])
async def test_a_read_that_is_cancelled_leaves_no_file_open(pieces_read: int, root: Path) -> None:
    (root / "large").write_bytes(bytes(4 << 20))
    pieces = MountedVolume(root).contents([VolumeFile("large", 4 << 20, 0)])
    for _ in range(pieces_read):
        await anext(pieces)
    reading = asyncio.ensure_future(anext(pieces))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    for thread in threading.enumerate():
        if thread.name.startswith(THREAD):
            thread.join(10)
    await asyncio.sleep(0)  # the loop hears of it
    assert [file.path for file in psutil.Process().open_files() if file.path.startswith(str(root))] == []


@pytest.mark.parametrize("size", [0, 1, (1 << 18) - 1, 1 << 18, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 19])
@pytest.mark.parametrize("more", [0, 1])
async def test_a_file_of_any_size_is_read_whole_and_beyond_the_size_it_had(size: int, more: int, root: Path) -> None:
    written = random.Random(size).randbytes(size + more)
    (root / "one").write_bytes(written)
    read = await content(MountedVolume(root), VolumeFile("one", size, 0))
    assert read[: size + 1] == written


async def test_many_files_are_read_in_their_order_and_an_error_says_which(root: Path) -> None:
    sizes = [0, 3, 700_000, 0, 1 << 20, 5, (1 << 20) + 1, *([10] * 500)]
    files = [VolumeFile(f"many-{place}", size, 0) for place, size in enumerate(sizes)]
    for place, file in enumerate(files):
        (root / file.relative_path).write_bytes(b"%d" % (place % 10) * file.size_bytes)
    read: dict[int, bytes] = {}
    async for place, piece in MountedVolume(root).contents(files):
        assert place >= max(read, default=0)
        read[place] = read.get(place, b"") + piece
    assert read == {place: b"%d" % (place % 10) * size for place, size in enumerate(sizes) if size}
    (root / "many-100").unlink()
    with pytest.raises(UnreadableFileError) as caught:
        _ = [place async for place in MountedVolume(root).contents(files)]
    assert caught.value.place == 100


@pytest.mark.parametrize("swapped", ["deep/er/b.txt", "deep/er", "deep"])
async def test_a_link_that_comes_after_the_scan_is_not_followed(swapped: str, root: Path, tmp_path: Path) -> None:
    """A file, or a folder on the way to it, becomes a link to something of the same name elsewhere."""
    [file] = [found for found in MountedScan(root, "deep/er") if isinstance(found, VolumeFile)]
    volume = MountedVolume(root)
    assert await content(volume, file) == b"four!"
    (root / swapped).rename(tmp_path / "elsewhere")
    (root / swapped).symlink_to(tmp_path / "elsewhere")
    assert (root / file.relative_path).read_text() == "four!"
    with pytest.raises(UnreadableFileError):
        await content(volume, file)
    assert [one.path for one in psutil.Process().open_files() if one.path.startswith(str(tmp_path))] == []


async def test_a_pipe_that_comes_after_the_scan_is_not_waited_for(root: Path) -> None:
    (root / "a.txt").unlink()
    os.mkfifo(root / "a.txt")
    assert await content(MountedVolume(root), VolumeFile("a.txt", 3, 0)) == b""


async def content(volume: MountedVolume, file: VolumeFile) -> bytes:
    return b"".join([piece async for _, piece in volume.contents([file])])
