"""The Files API (v2): plain PUT, GET, HEAD, DELETE and paged listings, each tried again as long as that can help.

`overwrite` is always said: unspecified means true today and meant false before. A refusal to overwrite is told by the
status, 409 or 412, never by the error code. There is no rename.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Final

from service.databricks.workspace import DATABRICKS, no_api
from service.errors import UpstreamError
from service.upstream import mapped_errors

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
    from io import FileIO

    from aiohttp import ClientResponse

    from service.databricks.workspace import Workspace

_FILES: Final = "/api/2.0/fs/files"
_DIRECTORIES: Final = "/api/2.0/fs/directories"
_MISSING: Final = frozenset({404})
_TAKEN: Final = frozenset({409, 412})
_PAGE_ENTRIES: Final = "1000"
# How often a download that got nothing more may be taken up again.
_RESUMES_MAX: Final = 4


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a directory's listing."""

    name: str
    path: str
    is_directory: bool
    size_bytes: int
    modified_ms: int


class FileChangedError(Exception):
    """The file is not any more what the listing said; `reason` says how."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Files:
    """Files below `/Volumes` of one workspace; paths are absolute. Methods raise the errors of `service.errors`."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    async def make_directory(self, path: str) -> None:
        """Create it with all above it; nothing when it is there."""
        await self._workspace.repeated(lambda: self._workspace.call("PUT", _DIRECTORIES + path))

    async def put(
        self,
        path: str,
        content: bytes | FileIO,
        *,
        overwrite: bool,
        before: Callable[[], Awaitable[object]] | None = None,
    ) -> bool:
        """Store a whole file and check its size.

        False: `overwrite` is not allowed and there is one already.

        `before` is awaited before each try; what it raises ends them.
        """

        async def once() -> bool:
            if before is not None:
                await before()
            return await self._put(path, content, overwrite=overwrite)

        return await self._workspace.repeated(once)

    async def _put(self, path: str, content: bytes | FileIO, *, overwrite: bool) -> bool:
        query = {"overwrite": "true" if overwrite else "false"}
        answer = await self._workspace.call("PUT", _FILES + path, query=query, content=content, accept=_TAKEN)
        if answer.status in _TAKEN:
            return False
        content_bytes = len(content) if isinstance(content, bytes) else os.fstat(content.fileno()).st_size
        head = await self._workspace.call("HEAD", _FILES + path, accept=_MISSING)
        stored_bytes = int(head.headers.get("Content-Length", -1)) if head.status != 404 else -1
        if stored_bytes != content_bytes:
            raise UpstreamError(
                "DATABRICKS_SIZE",
                f"Databricks took {content_bytes} bytes and holds {max(stored_bytes, 0)}.",
                "Check what stands between this service and Databricks, then start it again.",
            )
        return True

    async def read(self, path: str) -> bytes | None:
        """The content of a small file; None when there is none."""
        answer = await self._workspace.repeated(lambda: self._workspace.call("GET", _FILES + path, accept=_MISSING))
        return None if answer.status == 404 else answer.content

    async def delete(self, path: str) -> None:
        """Remove a file; nothing when there is none."""
        await self._workspace.repeated(lambda: self._workspace.call("DELETE", _FILES + path, accept=_MISSING))

    async def delete_directory(self, path: str) -> bool:
        """Remove an empty directory; False when it is not empty."""
        answer = await self._workspace.repeated(
            lambda: self._workspace.call("DELETE", _DIRECTORIES + path, accept=_MISSING | _TAKEN | {400})
        )
        return answer.status not in _TAKEN | {400}

    async def pages(self, directory: str) -> AsyncIterator[list[Entry]]:
        """The directory's entries, page by page; nothing when there is no such directory.

        A page may be short or empty and still not be the last one: only a missing token says that.
        """
        token: str | None = None
        while True:
            query = {"page_size": _PAGE_ENTRIES} | ({"page_token": token} if token else {})
            answer = await self._workspace.repeated(
                lambda query=query: self._workspace.call("GET", _DIRECTORIES + directory, query=query, accept=_MISSING)
            )
            if answer.status == 404:
                return
            document = answer.document()
            contents: list[dict[str, Any]] = document.get("contents") or []
            yield [_entry(entry) for entry in contents]
            token = document.get("next_page_token")
            if not token:
                return

    async def pieces(self, entry: Entry) -> AsyncGenerator[bytes]:
        """The bytes of a listed file; a download that breaks off goes on where it was.

        Raises `FileChangedError` when the file is gone or another one now, and the errors of `service.errors`.
        """
        sent = resumes = 0
        while True:
            before = sent
            async with contextlib.AsyncExitStack() as stack:
                response = await self._workspace.repeated(
                    lambda: stack.enter_async_context(self._opened(entry, sent))  # noqa: B023 - called at once
                )
                try:
                    with mapped_errors(DATABRICKS):
                        while piece := await response.content.readany():
                            sent += len(piece)
                            yield piece
                except UpstreamError:
                    resumes = resumes + 1 if sent == before else 0
                    if resumes > _RESUMES_MAX:
                        raise
                else:
                    return

    @contextlib.asynccontextmanager
    async def _opened(self, entry: Entry, start: int) -> AsyncGenerator[ClientResponse]:
        headers = {"Range": f"bytes={start}-"} if start else {}
        if entry.modified_ms:  # whole seconds, rounded up: the server's own date has no more
            headers["If-Unmodified-Since"] = formatdate(-(-entry.modified_ms // 1000), usegmt=True)
        async with self._workspace.answer(
            "GET", _FILES + entry.path, headers=headers, accept=frozenset({404, 412, 416}), any_type=True
        ) as response:
            if response.status == 404:
                raise FileChangedError("it is gone since it was listed")
            if response.status in {412, 416}:
                raise FileChangedError("it changed since it was listed")
            if response.content_length != entry.size_bytes - start:
                if response.content_type == "text/html":  # of another length than the file: a login page
                    raise no_api("it answered with a web page")
                raise FileChangedError("it changed since it was listed")
            if response.status != (206 if start else 200):
                raise FileChangedError("it could not be read from the middle")
            yield response


def _entry(entry: dict[str, Any]) -> Entry:
    return Entry(
        name=str(entry["name"]),
        path=str(entry["path"]),
        is_directory=bool(entry.get("is_directory", False)),
        size_bytes=int(entry.get("file_size") or 0),
        modified_ms=int(entry.get("last_modified") or 0),
    )
