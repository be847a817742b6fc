"""One request and its answer: what is written down about it, how it is to go wrong, and the ways to end a connection.

Everything here is about a single exchange; the workspace behind it is in the other modules.
"""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import NoReturn

from aiohttp import web
from multidict import CIMultiDict

from tests.simulators.dxr.wire import Answered

FILES = "/api/2.0/fs/files"
DIRECTORIES = "/api/2.0/fs/directories"
FILES_API = "/api/2.0/fs/"
TOKEN = "/oidc/v1/token"


@dataclass(slots=True)
class RecordedRequest:
    """What a client asked and how it was answered; `headers` finds names in any case.

    `path` is without escapes. `status` is None while the answer is due, and stays None where none came. `body_bytes`
    counts what was read of the body. `fault` is the name of the fault that struck, or None.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: CIMultiDict[str]
    status: int | None = None
    body_bytes: int = 0
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Twist:
    """What a fault changes in the middle of a request that is otherwise carried out.

    Of a body that is to be sent, only `stop_after` bytes go, and never the last one; then `stopped` is called.
    """

    store_nothing: bool = False
    spoil_page_token: bool = False
    stop_after: int | None = None
    stopped: Callable[[web.Request], Awaitable[None]] | None = None


@dataclass(slots=True)
class Exchange:
    """What the middleware hands to the handlers along with the request; `leave` ends its being in flight."""

    record: RecordedRequest
    leave: Callable[[], None]
    twist: Twist = Twist()


EXCHANGE = web.RequestKey("exchange", Exchange)


async def send(
    request: web.Request, answer: web.StreamResponse, pieces: Iterator[bytes], length: int
) -> web.StreamResponse:
    """Send a body of `length` bytes piece by piece, or less if the request's twist or the pieces say so.

    What ends early ends the connection too. The exchange is no longer in flight before its last byte can be seen.
    """
    exchange = request[EXCHANGE]
    twist, sent = exchange.twist, 0
    stop = length if twist.stop_after is None else min(twist.stop_after, max(0, length - 1))
    answer.content_length = length
    exchange.record.status = answer.status
    await answer.prepare(request)
    while sent < stop and (piece := next(pieces, b"")):
        kept = piece[: stop - sent]
        sent += len(kept)
        if sent == length:
            exchange.leave()
        await answer.write(kept)
    if sent == length:
        await answer.write_eof()
        return answer
    await (twist.stopped or drop)(request)
    return Answered(keep_alive=False)


async def drop(request: web.Request, *, by_reset: bool = False) -> None:
    """Close the connection under the answer, after all that was written has left; `by_reset` sends RST, not FIN."""
    if request.transport is not None:
        request.writer.send_headers()
        request.transport.set_write_buffer_limits(high=0)
        await request.writer.drain()
    if by_reset:
        reset(request)
    elif request.transport is not None:
        request.transport.close()


def reset(request: web.Request) -> None:
    """Make the client see RST; what has not reached it yet is lost."""
    if request.transport is not None:
        # Zero linger time makes the kernel answer with RST instead of the orderly FIN.
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()


async def hold(request: web.Request) -> NoReturn:
    """Send nothing more and keep the connection open, until the client goes or the workspace stops."""
    request.writer.send_headers()
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody completes this future: the handler is cancelled instead")
