"""`GET /api/v1/files`: the stream of file metadata, as bytes, with what is known about its framing."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, Protocol

from service.dxr.body import ResponseBody
from service.errors import RefusedError, UpstreamError

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
        """The next bytes of the body, none at its proven end. Raises `UpstreamError`."""
        ...


class FilesStream:
    """The files of a DXR tenant."""

    def __init__(self, session: DxrSession) -> None:
        self._session = session
        self.name = session.origin

    @contextlib.asynccontextmanager
    async def open(self, query: str | None) -> AsyncGenerator[Body]:
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
                yield ResponseBody(response)
                return
        raise RefusedError(
            "DXR_REJECTED", f"DXR serves neither {PATHS[0]} nor {PATHS[1]} (404).", "Check DXR_BASE_URL."
        )
