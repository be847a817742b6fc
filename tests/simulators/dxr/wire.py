"""One answer on the wire, written by hand to the transport: head, framing, body, and the ways to end badly.

aiohttp parses the request and owns the connection; everything sent back for a stream goes through `Wire`, because a
server that can lie about its framing must write the framing itself. It knows nothing of faults or of rows' contents.
"""

import asyncio
import hashlib
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal, NoReturn

from aiohttp import web
from aiohttp.http import HttpVersion11

Framing = Literal["chunked", "length", "close"]
Headers = Iterable[tuple[str, str]]

OPEN = "open"
WHOLE = "whole"
CLIENT_GONE = "client gone"
SOURCE_FAILED = "source failed"


@dataclass(slots=True)
class Served:
    """Ledger entry of one answered stream, kept up to date while it is being sent.

    `rows` counts the lines handed over whole, empty ones excepted (those are `blank_lines`) and lines that are no
    rows included; inside a compressed body they are the rows compressed so far. `bytes` and `sha256` are of the body
    before its framing: the compressed bytes, if it was compressed. `ended` is "whole", the name of the fault that
    ended it, "client gone", "source failed", or "open" as long as it goes on; it is set before the client
    can see the end.
    """

    rows: int = 0
    blank_lines: int = 0
    bytes: int = 0
    ended: str = OPEN
    _digest: Any = field(default_factory=hashlib.sha256, repr=False)
    _line_open: bool = field(default=False, repr=False)

    @property
    def sha256(self) -> str:
        """Hash of all body bytes handed to the socket so far, in hex."""
        return self._digest.hexdigest()

    def add(self, data: "Data", *, coded: bool) -> None:
        """Count body bytes that are about to be written."""
        self.bytes += len(data)
        self._digest.update(data)
        if not coded:
            lines, blank = count_lines(data, within_line=self._line_open)
            self.rows += lines - blank
            self.blank_lines += blank
            self._line_open = not data.endswith(b"\n")


Data = bytes  # inside the ledger, `bytes` is a number


def count_lines(data: bytes, *, within_line: bool) -> tuple[int, int]:
    """Count the lines a piece ends, and how many of them are empty; `within_line`: it begins inside a line."""
    *lines, _unfinished = data.split(b"\n")  # faster than any two searches for newlines
    return len(lines), lines.count(b"") - (data.startswith(b"\n") and within_line)


class Answered(web.StreamResponse):
    """Tells aiohttp that the answer is already written, and whether the connection may serve another request."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._reusable = keep_alive

    @property
    def keep_alive(self) -> bool:
        """Whether aiohttp waits for a next request on this connection."""
        return self._reusable

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write nothing: the head is long gone."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Write nothing: the end, or its absence, was the point."""


class Wire:
    """The way back to one client; raises `ConnectionError` once the client is gone."""

    def __init__(self, request: web.Request, media_type: str, fault: str, served: Served) -> None:
        self.media_type = media_type
        self.fault = fault
        self.served = served
        self._request = request
        self._framing: Framing = "chunked"
        self._coded = False
        self._whole = False

    @property
    def answered(self) -> Answered:
        """What the handler returns to aiohttp when it has nothing more to send."""
        return Answered(keep_alive=self._whole and self._framing != "close" and self._request.keep_alive)

    async def head(
        self,
        framing: Framing = "chunked",
        *,
        status: int = 200,
        length: int | None = None,
        media_type: str | None = None,
        headers: Headers = (),
    ) -> None:
        """Send status line and headers; `length` is what Content-Length claims when the framing is by length."""
        if framing == "chunked" and self._request.version < HttpVersion11:
            framing = "close"  # HTTP/1.0 knows no chunks
        self._framing = framing
        fields = [("Content-Type", media_type or self.media_type), *headers]
        if framing == "chunked":
            fields.append(("Transfer-Encoding", "chunked"))
        elif framing == "length":
            fields.append(("Content-Length", str(length or 0)))
        else:
            fields.append(("Connection", "close"))
        self._coded = any(name == "Content-Encoding" for name, _ in fields)
        known = status in HTTPStatus._value2member_map_
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase if known else ''}", *(f"{n}: {v}" for n, v in fields)]
        await self.raw("\r\n".join((*lines, "", "")).encode("latin-1"))

    async def pour(self, pieces: Iterator[bytes]) -> None:
        """Send all pieces as body; each is made in a thread, so that reading files never holds up other clients."""
        loop = asyncio.get_running_loop()
        while (piece := await loop.run_in_executor(None, next, pieces, None)) is not None:
            await self.body(piece)

    async def body(self, data: bytes) -> None:
        """Send one piece of the body under the framing of the head, and enter it in the ledger."""
        if not data:  # an empty chunk would be the terminal one
            return
        self.served.add(data, coded=self._coded)
        await self.raw(b"%x\r\n%b\r\n" % (len(data), data) if self._framing == "chunked" else data)

    async def end(self, *, rows_whole: bool = True) -> None:
        """End the answer as its framing promises; `rows_whole` says whether the ledger may call the rows whole."""
        self.served.ended = WHOLE if rows_whole else self.fault
        self._whole = True
        if self._framing == "chunked":
            await self.raw(b"0\r\n\r\n")

    async def drop(self, *, reset: bool = False) -> None:
        """Close the connection under the answer, after all that was written has left; `reset` sends RST, not FIN."""
        self.served.ended = self.fault
        transport = self._transport()
        transport.set_write_buffer_limits(high=0)
        await self._request.writer.drain()
        if reset:
            # Zero linger time makes the kernel answer with RST instead of the orderly FIN.
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()

    def abort(self) -> None:
        """Throw the connection away, with whatever has not left yet."""
        if self._request.transport is not None:
            self._request.transport.abort()

    async def hold(self) -> NoReturn:
        """Send nothing more and keep the connection open, until the client goes or the simulator stops."""
        await asyncio.get_running_loop().create_future()
        raise AssertionError("nobody completes this future: the handler is cancelled instead")

    async def raw(self, data: bytes) -> None:
        """Write bytes as they are, outside the ledger, and wait while the client reads slower than they come."""
        self._transport().write(data)
        await self._request.writer.drain()

    def _transport(self) -> asyncio.Transport:
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client closed the connection")
        return transport
