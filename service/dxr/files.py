"""`GET /api/v1/files`: the stream of file metadata, as bytes, with what is known about its framing."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, Protocol

import aiohttp

from service.dxr.session import DXR
from service.errors import RefusedError, UpstreamError
from service.upstream import mapped_errors

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from service.dxr.session import DxrSession

PATHS: Final = ("/api/v1/files", "/api/vbeta/files")
_HEADERS: Final = {
    "Accept": "application/x-ndjson, application/jsonlines, application/json",
    "Accept-Encoding": "identity",
}


class Body(Protocol):
    """What the snapshot flow needs of an answer."""

    @property
    def content_encoding(self) -> str:
        """The `Content-Encoding` header, empty for none."""
        ...

    @property
    def unproven(self) -> bool:
        """Whether the end of the body cannot be told from a cut."""
        ...

    async def read(self) -> bytes:
        """Some bytes of the body, empty at its proven end. Raises `UpstreamError`."""
        ...


class FilesBody:
    """The body of one answer. A body framed by neither length nor chunks ends like a cut one: it is unproven."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.content_encoding = response.headers.get("Content-Encoding", "") if response.status != 204 else ""
        framed = (
            "Content-Length" in response.headers or "chunked" in response.headers.get("Transfer-Encoding", "").lower()
        )
        self.unproven = not framed and response.status != 204
        self.empty = response.status == 204

    async def read(self) -> bytes:
        """Aiohttp raises on a missing terminal chunk, a short body and a reset; at a proven end this is empty."""
        if self.empty:
            return b""
        content = self._response.content
        with mapped_errors(DXR):
            try:
                return await content.readany()
            except RuntimeError as error:
                # After a garbage chunk size aiohttp drops the connection without telling the stream.
                raise aiohttp.ClientPayloadError from error


class FilesStream:
    """The files of a DXR tenant."""

    def __init__(self, session: DxrSession) -> None:
        self._session = session
        self.name = session.origin

    @contextlib.asynccontextmanager
    async def open(self, query: str | None) -> AsyncGenerator[FilesBody]:
        """Begin the stream; older deployments serve it at the second path. Raises the errors of `service.errors`."""
        params = {"q": query} if query else {}
        for path in PATHS:
            async with self._session.get(path, params, _HEADERS) as response:
                if response.status == 404:
                    continue
                if response.status not in {200, 204}:
                    raise UpstreamError(
                        "NOT_NDJSON",
                        f"DXR answered with status {response.status}, which is no whole answer.",
                        "Check what stands between this service and DXR; nothing was committed.",
                    )
                yield FilesBody(response)
                return
        raise RefusedError(
            "DXR_REJECTED", f"DXR serves neither {PATHS[0]} nor {PATHS[1]} (404).", "Check DXR_BASE_URL."
        )
