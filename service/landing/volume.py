"""A landing in a Unity Catalog volume, over the Files API: whole parts from temporary files, commits written once.

A part is kept until it is published: a stream that was read cannot be sent again, and the Files API has no rename, so a
part gets its name and its bytes in one PUT. It is kept in a file, since three of them in memory were most of what a
stream took, and without a name, so that nothing of it stays, however the process ends.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import TYPE_CHECKING

from service.errors import LandingError
from service.landing.port import Stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator
    from io import FileIO

    from service.databricks.files import Files
    from service.landing.port import Before, Part


class VolumePart:
    """A chunk in a file without a name in the temporary folder (`TMPDIR`, else `/tmp`)."""

    def __init__(self, path: str) -> None:
        self.path = path
        with _mapped():
            self.file: FileIO = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - open until it is discarded

    def write(self, data: bytes) -> None:
        """Append. Raises `LandingError`."""
        view = memoryview(data)
        with _mapped():
            while view:  # a raw write may take only a part of it
                view = view[self.file.write(view) :]

    def discard(self) -> None:
        """Close the file, which is its end."""
        self.file.close()


class VolumeLanding:
    """The landing under `root`, `/Volumes/<catalog>/<schema>/<volume>[/…]`; the volume must exist."""

    def __init__(self, root: str, files: Files) -> None:
        self._root = root
        self._files = files

    def new_part(self, path: str) -> VolumePart:
        """Begin a chunk."""
        return VolumePart(path)

    async def publish(self, part: Part, size_bytes: int) -> None:
        """Store a part and check its size there. Its name is new, so that a repeat may overwrite it."""
        if not isinstance(part, VolumePart):
            raise TypeError(part)
        held_bytes = os.fstat(part.file.fileno()).st_size
        if held_bytes != size_bytes:
            raise LandingError(
                "LANDING_SIZE",
                f"{part.path} has {held_bytes} bytes, {size_bytes} were expected.",
                "Nothing was committed; report it with the id of the run.",
            )
        await self._make_folder_of(part.path)
        await self._files.put(self._at(part.path), part.file, overwrite=True)
        part.discard()

    async def put_new(self, path: str, content: bytes, before: Before | None = None) -> None:
        """Write a small file once; when there is one already, which a lost answer may mean, it is compared."""
        await self._make_folder_of(path)
        put = await self._files.put(self._at(path), content, overwrite=False, before=before)
        if not put and await self.read(path) != content:
            raise LandingError(
                "LANDING_CONFLICT",
                f"{path} exists in the landing with other content.",
                "Nothing was changed. Find what else writes below LANDING_PATH.",
            )

    async def read(self, path: str) -> bytes | None:
        """The content of a small file; None when there is none."""
        return await self._files.read(self._at(path))

    async def list(self, folder: str) -> AsyncIterator[Stored]:
        """Every finished file below `folder`, folder by folder."""
        folders = [self._at(folder)]
        while folders:
            async for page in self._files.pages(folders.pop()):
                for entry in page:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_directory:
                        folders.append(entry.path.rstrip("/"))
                    else:
                        path = entry.path.removeprefix(f"{self._root}/")
                        yield Stored(path, entry.size_bytes, entry.modified_ms / 1000)

    async def delete(self, path: str) -> None:
        """Remove a file and the folders left empty above it, but for the root."""
        await self._files.delete(self._at(path))
        folder = path.rpartition("/")[0]
        while folder and await self._files.delete_directory(self._at(folder)):
            folder = folder.rpartition("/")[0]

    async def _make_folder_of(self, path: str) -> None:
        await self._files.make_directory(self._at(path.rpartition("/")[0]))

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}".rstrip("/")


@contextlib.contextmanager
def _mapped() -> Generator[None]:
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise LandingError(
            "LANDING_SPOOL",
            f"The temporary folder could not keep a chunk until it is in the volume: {reason}.",
            "Make room in /tmp, or name another folder with TMPDIR; nothing was committed.",
        ) from error
