"""A volume that is not mounted here, through the Files API: paged listings, streamed downloads."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from service.classification.volume import Found, Unreadable, UnreadableFileError, VolumeFile, clean_prefix, unavailable
from service.databricks.files import Entry, FileChangedError
from service.errors import CredentialError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from service.databricks.files import Files


class RemoteVolume:
    """The files below `root`, `/Volumes/<catalog>/<schema>/<volume>`."""

    def __init__(self, root: str, files: Files) -> None:
        self._root = root
        self._files = files

    def scan(self, prefix: str) -> RemoteScan:
        """Look at what lies below a prefix."""
        return RemoteScan(self._root, clean_prefix(prefix), self._files)

    async def contents(self, files: Sequence[VolumeFile]) -> AsyncGenerator[tuple[int, bytes]]:
        """Each file is taken up again where its download broke off."""
        for place, file in enumerate(files):
            path = f"{self._root}/{file.relative_path}"
            entry = Entry(path.rpartition("/")[2], path, is_directory=False, **_size_and_time(file))
            try:
                async with contextlib.aclosing(self._files.pieces(entry)) as pieces:
                    async for piece in pieces:
                        yield place, piece
            except FileChangedError as error:
                raise UnreadableFileError(place, error.reason) from error
            except CredentialError as error:
                if error.code != "DATABRICKS_FORBIDDEN":
                    raise
                raise UnreadableFileError(place, "reading it is not permitted") from error


class RemoteScan:
    """Folder by folder; a listing has no links or devices, so nothing is ever skipped."""

    def __init__(self, root: str, prefix: str, files: Files) -> None:
        self._root = root
        self._start = f"{root}/{prefix}".rstrip("/")
        self._files = files
        self.skipped = 0
        self.unlisted: list[str] = []

    async def pages(self) -> AsyncIterator[list[Found]]:
        """What each page of each listing holds."""
        pending = [self._start]
        while pending:
            folder = pending.pop()
            listed = False
            try:
                async for page in self._files.pages(folder):
                    listed = True
                    pending += [entry.path.rstrip("/") for entry in page if entry.is_directory]
                    yield [self._file(entry) for entry in page if not entry.is_directory]
            except CredentialError as error:
                if error.code != "DATABRICKS_FORBIDDEN" or folder == self._start:
                    raise
                yield self._closed(folder, "listing it is not permitted")
            else:
                if not listed and folder == self._start:
                    raise unavailable("is not there or is no folder")
                if not listed:
                    yield self._closed(folder, "it is gone")

    def _file(self, entry: Entry) -> VolumeFile:
        return VolumeFile(self._relative(entry.path), entry.size_bytes, entry.modified_ms)

    def _closed(self, folder: str, why: str) -> list[Found]:
        self.unlisted.append(self._relative(folder))
        return [Unreadable(self.unlisted[-1], f"the folder cannot be listed: {why}")]

    def _relative(self, path: str) -> str:
        return path.removeprefix(f"{self._root}/")


def _size_and_time(file: VolumeFile) -> dict[str, int]:
    return {"size_bytes": file.size_bytes, "modified_ms": file.modified_ms}
