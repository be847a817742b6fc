"""A landing in a local folder: bytes first, then the name, each made durable before the next step."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import aiofiles

from service.errors import LandingError
from service.landing.port import Stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator

    from service.landing.port import Before, Part


class FolderPart:
    """A chunk written as `.<name>.tmp` beside its final place; Spark and this service skip names with a dot."""

    def __init__(self, root: Path, path: str) -> None:
        self.path = path
        self._root = root
        target = root / path
        self.temporary = target.with_name(f".{target.name}.tmp")
        with _mapped(path):
            _make_folder(target.parent, root)
            self._file = self.temporary.open("xb", buffering=0)

    def write(self, data: bytes) -> None:
        """Append to the temporary file."""
        view = memoryview(data)
        with _mapped(self.path):
            while view:  # a raw write may take only a part of it
                view = view[self._file.write(view) :]

    def seal(self) -> None:
        """Make the bytes durable and close the file."""
        os.fsync(self._file.fileno())
        self._file.close()

    def discard(self) -> None:
        """Close and remove the temporary file, and the folders of attempt and run where it was all that they had."""
        with contextlib.suppress(OSError):
            self._file.close()
            self.temporary.unlink(missing_ok=True)
            for folder in list(self.temporary.parents)[:2]:
                if folder == self._root:
                    break
                folder.rmdir()


class FolderLanding:
    """The landing under `root`, which must exist or be creatable."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def new_part(self, path: str) -> FolderPart:
        """Begin a chunk in its temporary file."""
        return FolderPart(self._root, path)

    async def publish(self, part: Part, size_bytes: int) -> None:
        """Make the bytes durable, then rename the part to its name and make the name durable."""
        if not isinstance(part, FolderPart):
            raise TypeError(part)
        await asyncio.to_thread(self._publish, part, size_bytes)

    def _publish(self, part: FolderPart, size_bytes: int) -> None:
        target = self._root / part.path
        with _mapped(part.path):
            part.seal()
            stored_bytes = part.temporary.stat().st_size
            if stored_bytes != size_bytes:
                raise LandingError(
                    "LANDING_SIZE",
                    f"{part.path} holds {stored_bytes} bytes in the landing, {size_bytes} were written.",
                    "Check the file system of LANDING_PATH; nothing was committed.",
                )
            part.temporary.rename(target)
            _sync_folder(target.parent)

    async def put_new(self, path: str, content: bytes, before: Before | None = None) -> None:
        """Write `content` beside its place, then link it there: the link fails when the name is taken."""
        target = self._root / path
        # Two writers of one name (a frozen process that wakes up) must not write into one temporary file.
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
        with _mapped(path):
            await asyncio.to_thread(_make_folder, target.parent, self._root)
            async with aiofiles.open(temporary, "wb") as file:
                await file.write(content)
                await file.flush()
                await asyncio.to_thread(os.fsync, file.fileno())
            try:
                if before is not None:
                    await before()
                await asyncio.to_thread(os.link, temporary, target)
            except FileExistsError:
                if await self.read(path) != content:
                    raise LandingError(
                        "LANDING_CONFLICT",
                        f"{path} exists in the landing with other content.",
                        "Nothing was changed. Find what else writes below LANDING_PATH.",
                    ) from None
            except OSError as error:
                if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}:
                    raise
                raise LandingError(
                    "LANDING_NO_LINKS",
                    "The file system of LANDING_PATH refuses hard links, with which a commit is published once.",
                    "Name a folder on a file system that has them (not a mounted object store).",
                ) from error
            finally:
                temporary.unlink(missing_ok=True)
            await asyncio.to_thread(_sync_folder, target.parent)

    async def read(self, path: str) -> bytes | None:
        """The content of a small file; None when there is none."""
        with _mapped(path):
            try:
                async with aiofiles.open(self._root / path, "rb") as file:
                    return await file.read()
            except FileNotFoundError:
                return None

    async def list(self, folder: str) -> AsyncIterator[Stored]:
        """Every finished file below `folder`, folder by folder."""
        folders = [self._root / folder]
        while folders:
            with _mapped(folder):
                files, deeper = await asyncio.to_thread(_entries, folders.pop())
            folders += deeper
            for file, status in files:
                yield Stored(file.relative_to(self._root).as_posix(), status.st_size, status.st_mtime)

    async def delete(self, path: str) -> None:
        """Remove a file and the folders left empty above it, but for the root."""
        target = self._root / path
        with _mapped(path):
            await asyncio.to_thread(target.unlink, missing_ok=True)
            for folder in target.parents:
                if folder == self._root:
                    break
                try:
                    await asyncio.to_thread(folder.rmdir)
                except OSError:  # not empty, or gone already
                    break


def _entries(folder: Path) -> tuple[list[tuple[Path, os.stat_result]], list[Path]]:
    files: list[tuple[Path, os.stat_result]] = []
    deeper: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    deeper.append(Path(entry.path))
                elif entry.is_file(follow_symlinks=False):
                    files.append((Path(entry.path), entry.stat(follow_symlinks=False)))
    except FileNotFoundError:
        return [], []
    return sorted(files), sorted(deeper)


def _make_folder(folder: Path, root: Path) -> None:
    """Create what is missing and make each new name durable in the folder above it."""
    missing = [folder, *folder.parents]
    missing = [path for path in missing[: missing.index(root) + 1] if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _mapped(path: str) -> Generator[None]:
    """The one place where errors of the file system become errors of the landing."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            code, hint = (
                "LANDING_FULL",
                "Make room under LANDING_PATH, then start the run again; nothing was committed.",
            )
        elif error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            code, hint = "LANDING_FORBIDDEN", "Give this process the right to write below LANDING_PATH."
        else:
            code, hint = "LANDING_UNAVAILABLE", "Check the file system of LANDING_PATH, then start the run again."
        raise LandingError(code, f"{path} could not be used in the landing: {reason}.", hint) from error
