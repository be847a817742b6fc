"""The body of one answer, as bytes, with what its framing proves about its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import aiohttp

from service.upstream import Partner, mapped_errors

if TYPE_CHECKING:
    import asyncio

    from multidict import CIMultiDictProxy

DXR: Final = Partner(
    name="DXR",
    codes="DXR",
    address="DXR_BASE_URL",
    trust="Set DXR_CA_BUNDLE_PATH to the bundle that signed it; DXR_VERIFY_SSL=false is for tests only.",
    cut="STREAM_CUT",
)


def is_framed(headers: CIMultiDictProxy[str]) -> bool:
    """Whether the end of a body can be told from a cut: by a terminal chunk or by its length (RFC 9112, 6.3).

    Any other transfer coding ends with the connection, whatever else its name holds.
    """
    codings = [coding.strip(" \t").lower() for coding in headers.getall("Transfer-Encoding", [])]
    return codings == ["chunked"] if codings else "Content-Length" in headers


class ResponseBody:
    """Reads an answer piece by piece. Status 204 is a proven empty one."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._content = response.content
        self._none = response.status == 204
        self.content_encoding = "" if self._none else ", ".join(response.headers.getall("Content-Encoding", []))
        self.unproven = not self._none and not is_framed(response.headers)
        connection = response.connection
        closed = connection.protocol.closed if connection and connection.protocol else None
        if closed is not None:
            closed.add_done_callback(self._connection_lost)

    async def read(self) -> bytes:
        """The next bytes, none at the proven end. Raises `UpstreamError` when the body ends before it, or is malformed.

        All that has come: servers send chunks as small as a row, and each on its own would cost more than its bytes.
        """
        if self._none:
            return b""
        with mapped_errors(DXR):
            try:
                return await self._content.readany()
            except RuntimeError as error:  # asked of a connection that is gone, before the callback below was called
                raise aiohttp.ClientPayloadError from error

    def _connection_lost(self, closed: asyncio.Future[None]) -> None:
        """Tell whoever waits: after a garbage chunk size aiohttp drops the connection without a word to the stream."""
        if not closed.cancelled():
            closed.exception()
        if not self._content.is_eof() and self._content.exception() is None:
            self._content.set_exception(aiohttp.ClientPayloadError("the connection was lost"))
