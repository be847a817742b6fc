"""What can go wrong between a tenant and its client; each class says what it does on the wire, and does it.

A fault is a frozen dataclass with one method, `answer`, which writes the whole answer. Adding one is adding a class.
"""

import asyncio
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from tests.simulators.dxr.sources import RowBlocks
from tests.simulators.dxr.wire import Framing, Served, Wire

# Any split will do as long as no member is the whole body.
ROWS_PER_MEMBER = 25
# More than any client has in flight, so that a too long Content-Length is never satisfied by accident.
MISSING_BYTES = 4096


class Fault(Protocol):
    """How one stream request is answered."""

    async def answer(self, wire: Wire, rows: RowBlocks) -> None:
        """Write the answer; returning without `wire.end` or `wire.drop` closes the connection."""
        ...


@dataclass(frozen=True, slots=True)
class Whole:
    """No fault: 200, all rows in chunks, the terminal chunk."""

    async def answer(self, wire: Wire, rows: RowBlocks) -> None:
        await wire.head()
        await wire.pour(rows.take_rest())
        await wire.end()


@dataclass(frozen=True, slots=True)
class Status:
    """Another status with a body of known length, no rows, and `Retry-After` exactly as given."""

    code: int
    retry_after: str | None = None
    body: bytes = b""
    content_type: str = "application/json"

    async def answer(self, wire: Wire, rows: RowBlocks) -> None:
        retry = [] if self.retry_after is None else [("Retry-After", self.retry_after)]
        await wire.head("length", status=self.code, length=len(self.body), media_type=self.content_type, headers=retry)
        await wire.body(self.body)
        await wire.end(rows_whole=False)


@dataclass(frozen=True, slots=True)
class Body:
    """200 with exactly these bytes instead of rows, framed and ended properly for the framing."""

    raw: bytes
    content_type: str = "application/x-ndjson"
    framing: Framing = "chunked"

    async def answer(self, wire: Wire, rows: RowBlocks) -> None:
        await wire.head(self.framing, length=len(self.raw), media_type=self.content_type)
        await wire.body(self.raw)
        await wire.end(rows_whole=False)


@dataclass(frozen=True, slots=True)
class CutAfterRows:
    """Chunked; the connection closes exactly behind the n-th row's newline, without a terminal chunk."""

    rows: int

    async def answer(self, wire: Wire, rows: RowBlocks) -> None:
        await wire.head()
        await wire.pour(rows.take_rows(self.rows))
        await wire.drop()


@dataclass(frozen=True, slots=True)
class CutAfterBytes:
    """The connection closes after n bytes of body, wherever in a row that is; with `reset` by RST.

    Chunked lacks its terminal chunk, "length" claims more bytes than come, "close" has no sign of the loss but the torn
    line.
    """

    count: int
    framing: Framing = "chunked"
    reset: bool = False

    async def answer(self, wire: Wire, rows: RowBlocks) -> None:
        await wire.head(self.framing, length=self.count + MISSING_BYTES)
        await wire.pour(rows.take_bytes(self.count))
        await wire.drop(reset=self.reset)


@dataclass(frozen=True, slots=True)
class MissingTerminalChunk:
    """Chunked; all rows come, then the connection closes without a terminal chunk."""

    async def answer(self, wire: Wire, rows: RowBlocks) -> None:
        await wire.head()
        await wire.pour(rows.take_rest())
        await wire.drop()


@dataclass(frozen=True, slots=True)
class Stall:
    """After n rows nothing more comes and the connection stays open; without `headers` nothing comes at all."""

    after_rows: int = 0
    headers: bool = True

    async def answer(self, wire: Wire, rows: RowBlocks) -> None:
        wire.served.ended = wire.fault  # now, as there will be no moment of ending
        if self.headers:
            await wire.head()
            await wire.pour(rows.take_rows(self.after_rows))
        await wire.hold()


@dataclass(frozen=True, slots=True)
class DripBlankLines:
    """After n rows an empty line comes every `every_s` seconds, for ever: bytes flow, rows do not."""

    after_rows: int = 0
    every_s: float = 0.01

    async def answer(self, wire: Wire, rows: RowBlocks) -> None:
        wire.served.ended = wire.fault  # now, as there will be no moment of ending
        await wire.head()
        await wire.pour(rows.take_rows(self.after_rows))
        while True:
            await wire.body(b"\n")
            await asyncio.sleep(self.every_s)


@dataclass(frozen=True, slots=True)
class GarbageChunkSize:
    """After n rows a chunk-size line that is no number, then the connection closes."""

    after_rows: int = 0

    async def answer(self, wire: Wire, rows: RowBlocks) -> None:
        await wire.head()
        await wire.pour(rows.take_rows(self.after_rows))
        await wire.raw(b"not-a-size\r\n")
        await wire.drop()


@dataclass(frozen=True, slots=True)
class Gzip:
    """`Content-Encoding: gzip`, asked for or not, in `members` members, inside whole chunked framing.

    `cut_after_bytes` leaves the rest of the compressed body out, `bad_crc` spoils the last member's checksum; the
    terminal chunk comes all the same, so only the gzip trailer tells.
    """

    members: int = 1
    cut_after_bytes: int | None = None
    bad_crc: bool = False

    async def answer(self, wire: Wire, rows: RowBlocks) -> None:
        coded = self._coded(rows, wire.served)
        await wire.head(headers=[("Content-Encoding", "gzip")])
        await wire.pour(coded if self.cut_after_bytes is None else RowBlocks(coded).take_bytes(self.cut_after_bytes))
        await wire.end(rows_whole=self.cut_after_bytes is None and not self.bad_crc)

    def _coded(self, rows: RowBlocks, served: Served) -> Iterator[bytes]:
        for _ in range(self.members - 1):
            yield from _compressed(rows.take_rows(ROWS_PER_MEMBER), GZIP_WINDOW, served)
        *body, trailer = [b""]
        for piece in _compressed(rows.take_rest(), GZIP_WINDOW, served):
            yield from body
            body, trailer = [trailer], piece
        yield from body
        yield _crc_spoilt(trailer) if self.bad_crc else trailer


@dataclass(frozen=True, slots=True)
class Deflate:
    """`Content-Encoding: deflate` (zlib format), asked for or not; otherwise whole."""

    async def answer(self, wire: Wire, rows: RowBlocks) -> None:
        await wire.head(headers=[("Content-Encoding", "deflate")])
        await wire.pour(_compressed(rows.take_rest(), zlib.MAX_WBITS, wire.served))
        await wire.end()


@dataclass(frozen=True, slots=True)
class CloseDelimited:
    """All rows with `Connection: close` and no length: the only end is that of the connection, which proves nothing."""

    async def answer(self, wire: Wire, rows: RowBlocks) -> None:
        await wire.head("close")
        await wire.pour(rows.take_rest())
        await wire.end()


@dataclass(frozen=True, slots=True)
class Redirect:
    """A redirect without a body; `location` may be a path of this tenant or another host altogether."""

    location: str
    code: int = 302

    async def answer(self, wire: Wire, rows: RowBlocks) -> None:
        await wire.head("length", status=self.code, headers=[("Location", self.location)])
        await wire.end(rows_whole=False)


@dataclass(frozen=True, slots=True)
class Gate:
    """After n rows the stream waits for the test to call `open`, then brings the rest and ends whole."""

    after_rows: int = 0
    _reached: asyncio.Event = field(default_factory=asyncio.Event, repr=False, compare=False)
    _opened: asyncio.Event = field(default_factory=asyncio.Event, repr=False, compare=False)

    def open(self) -> None:
        """Let the rest of the stream go."""
        self._opened.set()

    async def reached(self) -> None:
        """Wait until the rows before the gate are handed to the socket."""
        await self._reached.wait()

    async def answer(self, wire: Wire, rows: RowBlocks) -> None:
        await wire.head()
        await wire.pour(rows.take_rows(self.after_rows))
        self._reached.set()
        await self._opened.wait()
        await wire.pour(rows.take_rest())
        await wire.end()


GZIP_WINDOW = zlib.MAX_WBITS | 16


def _compressed(pieces: Iterator[bytes], window: int, served: Served) -> Iterator[bytes]:
    coder = zlib.compressobj(1, wbits=window)
    for piece in pieces:
        served.rows += piece.count(b"\n")
        yield coder.compress(piece)
    yield coder.flush()


def _crc_spoilt(last: bytes) -> bytes:
    """The trailer is four bytes of CRC, then four of length."""
    return last[:-8] + bytes(byte ^ 0xFF for byte in last[-8:-4]) + last[-4:]
