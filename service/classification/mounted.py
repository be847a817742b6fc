"""A volume that is mounted here: lazily, without following a link, and without losing what could not be read."""

from __future__ import annotations

import asyncio
import itertools
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from service.classification.volume import Found, Unreadable, UnreadableFileError, VolumeFile, clean_prefix, unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
    from pathlib import Path

THREAD: Final = "volume"
_PAGE_FILES: Final = 1000
# To ask a thread costs as much as to read a good part of this; with more, memory is given back and fetched each time.
_READ_BYTES: Final = 1 << 19

# With the place of its file.
_Block = tuple[int, bytes]


class MountedVolume:
    """The files below `root`, where the volume is mounted."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def scan(self, prefix: str) -> MountedScan:
        """Look at what lies below a prefix."""
        return MountedScan(self._root, prefix)

    async def contents(self, files: Sequence[VolumeFile]) -> AsyncGenerator[_Block]:
        """Small files are read together.

        A link put in the place of a file, or in that of a folder above it, since the scan is refused.
        """
        # Its last holder closes the file: after a cancel that is the thread which is still opening or reading it.
        blocks = _blocks_of(self._root, files)
        # Always the same thread: in turns of several, memory and caches would be cold for each.
        thread = ThreadPoolExecutor(1, thread_name_prefix=THREAD)
        try:
            while read := await asyncio.get_running_loop().run_in_executor(thread, _some, blocks):
                for block in read:
                    yield block
        finally:
            thread.shutdown(wait=False)


class MountedScan:
    """The files below a prefix, in the order in which the file system lists them.

    Memory is bounded by the depth of the tree, not by the number of files.
    """

    def __init__(self, root: Path, prefix: str = "") -> None:
        self._root = root
        self._prefix = clean_prefix(prefix)
        self.skipped = 0
        self.unlisted: list[str] = []

    async def pages(self) -> AsyncIterator[list[Found]]:
        """Read in a thread, a page at a time."""
        found = iter(self)
        while page := await asyncio.to_thread(lambda: list(itertools.islice(found, _PAGE_FILES))):
            yield page

    def __iter__(self) -> Iterator[Found]:
        """Raises `RefusedError` (`VOLUME_UNAVAILABLE`) when the root or the prefix is no folder or is closed."""
        start = self._root / self._prefix
        # A prefix that leads through a link would leave the volume.
        if not start.is_dir() or any(part.is_symlink() for part in _parts(self._root, self._prefix)):
            raise unavailable("is not there or is no folder")
        yield from self._below(start)

    def _below(self, folder: Path | str) -> Iterator[Found]:
        pending = [os.fspath(folder)]
        while pending:
            current = pending.pop()
            try:
                with os.scandir(current) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(entry.path)
                        else:
                            yield from self._file(entry)
            except OSError as error:
                if current == os.fspath(folder):
                    raise unavailable("cannot be listed") from error
                relative = self._relative(current)
                self.unlisted.append(relative)
                yield Unreadable(relative, f"the folder cannot be listed: {os.strerror(error.errno or 0)}")

    def _file(self, entry: os.DirEntry[str]) -> Iterator[Found]:
        relative = self._relative(entry.path)
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError as error:
            yield Unreadable(relative, os.strerror(error.errno or 0))
            return
        if not stat.S_ISREG(status.st_mode):
            self.skipped += 1
        else:
            yield VolumeFile(relative, status.st_size, status.st_mtime_ns // 1_000_000)

    def _relative(self, path: str) -> str:
        # A name that is no UTF-8 is written with escapes: it must fit into JSON.
        return os.fsencode(os.path.relpath(path, self._root)).decode("utf-8", "backslashreplace")


def _some(blocks: Iterator[_Block]) -> list[_Block]:
    """The next blocks, about as much as is read at once; none at the end."""
    read: list[_Block] = []
    left_bytes = _READ_BYTES
    for place, block in blocks:
        read.append((place, block))
        left_bytes -= len(block)
        if left_bytes <= 0:
            break
    return read


def _blocks_of(root: Path, files: Sequence[VolumeFile]) -> Iterator[_Block]:
    for place, file in enumerate(files):
        # Not more than there should be, and a byte that tells when there is: memory of the same size is used again.
        read_bytes = min(file.size_bytes + 1, _READ_BYTES)
        try:
            with open(file.relative_path, "rb", opener=lambda path, flags: _opened_below(root, path, flags)) as opened:
                while block := opened.read(read_bytes):
                    yield place, block
                    if len(block) < read_bytes:
                        break
        except OSError as error:
            raise UnreadableFileError(place, os.strerror(error.errno or 0)) from error


def _opened_below(root: Path, relative_path: str, flags: int) -> int:
    """Opened folder by folder: `O_NOFOLLOW` looks at the last name only."""
    *folders, name = PurePosixPath(relative_path).parts
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for folder in folders:
            above, at = at, os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(above)
        return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
    finally:
        os.close(at)


def _parts(root: Path, prefix: str) -> Iterator[Path]:
    path = root
    for name in PurePosixPath(prefix).parts:
        path = path / name
        yield path
