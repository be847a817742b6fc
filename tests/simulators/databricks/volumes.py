"""The volumes as folders on the disk: plain calls of the file system, no HTTP.

A file becomes visible in one step when its last byte is there. Links are neither followed nor shown: what is reached
through one does not exist.
"""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp, mkstemp
from typing import BinaryIO, Literal, NamedTuple

from tests.simulators.databricks.errors import ApiError
from tests.simulators.databricks.paths import VolumePath

READ_BYTES = 256 * 1024


class Entry(NamedTuple):
    """What a listing says of a file or directory."""

    name: str
    is_directory: bool
    size: int
    modified_ms: int


class Upload:
    """Bytes that nobody can see yet."""

    def __init__(self, folder: Path) -> None:
        handle, name = mkstemp(dir=folder)
        self._file = os.fdopen(handle, "wb")
        self._path = Path(name)
        self._path.chmod(0o644)

    def write(self, data: bytes) -> None:
        """Take the next bytes in."""
        self._file.write(data)

    def publish(self, target: Path, *, overwrite: bool) -> None:
        """Show the file whole under its name; raises `FileExistsError` if that is taken and may not be overwritten."""
        self._file.close()
        if overwrite:
            self._path.replace(target)
        else:
            os.link(self._path, target)

    def discard(self) -> None:
        """Forget what was not published."""
        self._file.close()
        self._path.unlink(missing_ok=True)


class Volumes:
    """All volumes below one folder, which plays /Volumes."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._hidden: Path | None = None

    def open(self) -> None:
        """Make the folder, and within it but in no volume a place for uploads that go on."""
        self._root.mkdir(parents=True, exist_ok=True)
        self._hidden = Path(mkdtemp(prefix=".uploads-", dir=self._root))

    def close(self) -> None:
        """Remove that place."""
        if self._hidden is not None:
            shutil.rmtree(self._hidden)

    def on_disk(self, path: VolumePath) -> Path:
        """Where this place is on the disk, whether or not there is anything."""
        return self._root.joinpath(*path.parts)

    def kind(self, path: VolumePath) -> Literal["file", "directory"] | None:
        """What is there, if anything; a name too long for any file raises `ApiError` 400."""
        mode, at = stat.S_IFDIR, self._root
        for part in path.parts:
            at /= part
            try:
                mode = at.lstat().st_mode if stat.S_ISDIR(mode) else 0
            except FileNotFoundError:
                return None
            except OSError as error:
                raise ApiError(400, f"no file can have this name: {error.strerror}") from None
        return "directory" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else None

    def upload(self) -> Upload:
        """Begin to take in a file; its name is only asked for at its end."""
        assert self._hidden is not None, "the workspace is not open"
        return Upload(self._hidden)

    def make_directory(self, path: VolumePath) -> None:
        """Make a directory and those above it within its volume; raises `ApiError` 409 where a file is in the way."""
        for depth in range(len(path.volume.parts), len(path.parts) + 1):
            above = VolumePath(path.parts[:depth])
            if self.kind(above) == "directory":
                continue
            try:
                self.on_disk(above).mkdir()
            except FileExistsError:
                raise ApiError(409, "The given path points to an existing file.") from None

    def remove_directory(self, path: VolumePath) -> None:
        """Remove an empty directory; raises `ApiError` 400 if it is not."""
        try:
            self.on_disk(path).rmdir()
        except OSError:
            raise ApiError(
                400,
                "The directory is not empty.",
                error_code="INVALID_PARAMETER_VALUE",
                reason="FILES_API_DIRECTORY_IS_NOT_EMPTY",
            ) from None

    def entries(self, path: VolumePath) -> list[Entry]:
        """Return what is in a directory, by name."""
        found = list[Entry]()
        with os.scandir(self.on_disk(path)) as scan:
            for entry in scan:
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode):
                    is_directory = stat.S_ISDIR(status.st_mode)
                    found.append(Entry(entry.name, is_directory, status.st_size, status.st_mtime_ns // 1_000_000))
        return sorted(found)


def pieces(file: BinaryIO, start: int, length: int) -> Iterator[bytes]:
    """Read this range of a file piece by piece."""
    file.seek(start)
    while length > 0 and (piece := file.read(min(READ_BYTES, length))):
        length -= len(piece)
        yield piece
