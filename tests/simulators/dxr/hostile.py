"""More faults of the wire: answers that lie in their head, in their framing or in their coding, or never end.

They are used as those of `faults` are. The ledger counts the rows that were meant, whatever lies around them.
"""

import asyncio
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tests.simulators.dxr.sources import RowBlocks
from tests.simulators.dxr.wire import Wire

Coding = Literal["identity", "gzip", "deflate", "raw deflate"]
WINDOWS: dict[Coding, int] = {"gzip": 31, "deflate": 15, "raw deflate": -15}
TERMINAL_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def coded(body: bytes, coding: Coding) -> bytes:
    """A body under a content coding, as one member."""
    if coding == "identity":
        return body
    coder = zlib.compressobj(wbits=WINDOWS[coding])
    return coder.compress(body) + coder.flush()


def answer_bytes(body: bytes, *, framing: Literal["chunked", "length"], coding: Coding = "identity") -> bytes:
    """A whole answer as it goes over the wire, its body in two chunks if it is chunked."""
    body = coded(body, coding)
    half = len(body) // 2
    encoding = b"" if coding == "identity" else b"Content-Encoding: %b\r\n" % coding.split()[-1].encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n" + encoding
    if framing == "length":
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    chunks = b"".join(chunk(piece) for piece in (body[:half], body[half:]) if piece)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + TERMINAL_CHUNK


@dataclass(frozen=True, slots=True)
class Exactly:
    """These bytes instead of an answer, not one more; then the connection closes, is reset, or stays open."""

    raw: bytes = b""
    then: Literal["close", "reset", "hold"] = "close"

    async def answer(self, wire: Wire, rows: RowBlocks) -> None:
        await wire.raw(self.raw)
        if self.then == "hold":
            wire.served.ended = wire.fault
            await wire.hold()
        await wire.drop(reset=self.then == "reset")


@dataclass(frozen=True, slots=True)
class Told:
    """All rows in chunks and their proper end, below exactly this head (without its empty line).

    `before` and `after` are what comes before the head and behind the terminal chunk's zero.
    """

    head: bytes
    before: bytes = b""
    after: bytes = b"\r\n\r\n"

    async def answer(self, wire: Wire, rows: RowBlocks) -> None:
        await wire.raw(self.before + self.head + b"\r\n\r\n")
        for block in rows.take_rest():
            wire.served.add(block, coded=False)
            await wire.raw(chunk(block))
        await wire.raw(b"0" + self.after)
        await wire.drop()


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked"


def early_hints(count: int, code: int = 103) -> Told:
    """So many informational answers before the real one."""
    return Told(CHUNKED, before=b"HTTP/1.1 %d Wait\r\nLink: </style.css>\r\n\r\n" % code * count)


def wide_header(size: int) -> Told:
    """A header of so many bytes."""
    return Told(CHUNKED + b"\r\nX-Wide: " + b"w" * size)


def many_headers(count: int) -> Told:
    """So many headers."""
    return Told(CHUNKED + b"".join(b"\r\nX-%d: y" % number for number in range(count)))


def framed_by(*fields: bytes, version: bytes = b"1.1") -> Told:
    """Chunks, below a head that says these fields of their framing."""
    return Told(b"\r\n".join((b"HTTP/%b 200 OK" % version, *fields)))


def trailers(*fields: bytes) -> Told:
    """Fields behind the terminal chunk, as HTTP allows."""
    return Told(CHUNKED, after=b"\r\n" + b"".join(field + b"\r\n" for field in fields) + b"\r\n")


def followed_by(raw: bytes) -> Told:
    """Bytes behind the end, as if somebody smuggled in another answer."""
    return Told(CHUNKED, after=b"\r\n\r\n" + raw)


@dataclass(frozen=True, slots=True)
class Length:
    """All rows below a head with exactly these fields of their length, unchunked."""

    fields: tuple[bytes, ...]
    version: bytes = b"1.1"

    async def answer(self, wire: Wire, rows: RowBlocks) -> None:
        await wire.raw(b"\r\n".join((b"HTTP/%b 200 OK" % self.version, *self.fields, b"", b"")))
        for block in rows.take_rest():
            wire.served.add(block, coded=False)
            await wire.raw(block)
        await wire.drop()


@dataclass(frozen=True, slots=True)
class ManySmallChunks:
    """All rows and their proper end, each byte in a chunk of its own."""

    async def answer(self, wire: Wire, rows: RowBlocks) -> None:
        await wire.head()
        for block in rows.take_rest():
            wire.served.add(block, coded=False)
            await wire.raw(b"".join(chunk(block[place : place + 1]) for place in range(len(block))))
        await wire.end()


@dataclass(frozen=True, slots=True)
class Dripping:
    """After n rows `piece` comes for ever, every `every_s` seconds or as fast as the client takes it.

    A piece is a chunk of the body; `raw` ones go out as they are, where a chunk's size should be. With `compressed`
    the body is one endless gzip member.
    """

    piece: bytes
    after_rows: int = 0
    every_s: float = 0
    raw: bool = False
    compressed: bool = False

    async def answer(self, wire: Wire, rows: RowBlocks) -> None:
        wire.served.ended = wire.fault  # now, as there will be no moment of ending
        coder = zlib.compressobj(1, wbits=31) if self.compressed else None
        await wire.head(headers=[("Content-Encoding", "gzip")] if coder else [])
        for block in rows.take_rows(self.after_rows):
            await wire.body(block if coder is None else coder.compress(block) + coder.flush(zlib.Z_SYNC_FLUSH))
        while True:
            data = self.piece if coder is None else coder.compress(self.piece)
            await (wire.raw(data) if self.raw else wire.body(data))
            await asyncio.sleep(self.every_s)


@dataclass(frozen=True, slots=True)
class Paced:
    """All rows and their proper end, with a pause before each row."""

    every_s: float

    async def answer(self, wire: Wire, rows: RowBlocks) -> None:
        await wire.head()
        while block := b"".join(rows.take_rows(1)):
            await asyncio.sleep(self.every_s)
            await wire.body(block)
        await wire.end()


@dataclass(frozen=True, slots=True)
class DrippingHead:
    """Bytes of a head for ever, after `begin`."""

    begin: bytes
    piece: bytes
    every_s: float = 0

    async def answer(self, wire: Wire, rows: RowBlocks) -> None:
        wire.served.ended = wire.fault
        await wire.raw(self.begin)
        while True:
            await wire.raw(self.piece)
            await asyncio.sleep(self.every_s)


@dataclass(frozen=True, slots=True)
class Encoded:
    """Whole framing around a body of exactly these bytes, under whatever `Content-Encoding` headers are said."""

    raw: bytes
    said: tuple[str, ...]

    async def answer(self, wire: Wire, rows: RowBlocks) -> None:
        await wire.head(headers=[("Content-Encoding", coding) for coding in self.said])
        await wire.body(self.raw)
        await wire.end(rows_whole=False)


class Lines:
    """A source of exactly these bytes."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    @property
    def count(self) -> int | None:
        """Nobody knows how many of the lines are rows."""
        return None

    def blocks(self) -> Iterator[bytes]:
        """Yield the body."""
        yield self._body


class OneLine:
    r"""A source of one line, made while it is sent: `begin`, `piece` so many times, `end`; then the lines of `more`."""

    def __init__(self, begin: bytes, piece: bytes, times: int, end: bytes, more: bytes = b"") -> None:
        self._parts = (begin, piece, times, end, more)

    @property
    def count(self) -> int | None:
        """Whether the line is a row, the test knows."""
        return None

    def blocks(self) -> Iterator[bytes]:
        """Yield the line in pieces: not whole lines, as other sources do, since nobody should hold it."""
        begin, piece, times, end, more = self._parts
        yield begin
        for _ in range(times):
            yield piece
        yield end + b"\n" + more
