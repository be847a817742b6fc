"""Which files a volume holds: lazily, without following a link, and without losing what could not be read."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from service.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class VolumeFile:
    """A regular file; `relative_path` is below the volume's root, with `/`."""

    relative_path: str
    size_bytes: int
    modified_ms: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something that is there and could not be looked at."""

    relative_path: str
    reason: str


class VolumeScan:
    """Yields the files below a prefix, in the order in which the file system lists them.

    Memory is bounded by the depth of the tree, not by the number of files. After the last file, `skipped` counts what
    is no regular file (links, FIFOs, devices) and `unlisted` names the folders that could not be listed (each of them
    was yielded as `Unreadable`, too).
    """

    def __init__(self, root: Path, prefix: str = "") -> None:
        self._root = root
        self._prefix = clean_prefix(prefix)
        self.skipped = 0
        self.unlisted: list[str] = []

    def __iter__(self) -> Iterator[VolumeFile | Unreadable]:
        """Raises `RefusedError` (`VOLUME_UNAVAILABLE`) when the root or the prefix is no folder or is closed."""
        start = self._root / self._prefix
        # A prefix that leads through a link would leave the volume.
        if not start.is_dir() or any(part.is_symlink() for part in _parts(self._root, self._prefix)):
            raise _unavailable("is not there or is no folder")
        yield from self._below(start)

    def _below(self, folder: Path | str) -> Iterator[VolumeFile | Unreadable]:
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
                    raise _unavailable("cannot be listed") from error
                relative = self._relative(current)
                self.unlisted.append(relative)
                yield Unreadable(relative, f"the folder cannot be listed: {os.strerror(error.errno or 0)}")

    def _file(self, entry: os.DirEntry[str]) -> Iterator[VolumeFile | Unreadable]:
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


def _unavailable(why: str) -> RefusedError:
    return RefusedError(
        "VOLUME_UNAVAILABLE",
        f"The volume, or the prefix in it, {why}.",
        "Check VOLUME_CATALOG, VOLUME_SCHEMA, VOLUME_NAME, VOLUME_PREFIX and the mount of VOLUME_BASE_PATH.",
    )


def clean_prefix(prefix: str) -> str:
    """The prefix without slashes around it. Raises `RefusedError` for one that leads out of the volume."""
    parts = PurePosixPath(prefix.strip("/")).parts
    if ".." in parts or "\0" in prefix:
        raise RefusedError("UNPROCESSABLE", "The prefix leads out of the volume.", "Write it relative, without '..'.")
    return "/".join(part for part in parts if part != ".")


def is_below(relative_path: str, prefix: str) -> bool:
    """Whether a path lies below a prefix, folder by folder: `a/b` does not cover `a/bc`."""
    return not prefix or relative_path == prefix or relative_path.startswith(f"{prefix}/")


def _parts(root: Path, prefix: str) -> Iterator[Path]:
    path = root
    for name in PurePosixPath(prefix).parts:
        path = path / name
        yield path
