"""What can go wrong between a workspace and its client; each class says what it does, and does it.

A fault is a frozen dataclass with one method, `answer`, in which `properly` carries the request out and returns its
answer, unsent. Tests call the classes by the names at the end: `faults.status(503)`, `faults.reset_after()`.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from aiohttp import web

from tests.simulators.databricks.errors import ApiError, oauth_refusal
from tests.simulators.databricks.exchange import DIRECTORIES, EXCHANGE, FILES, FILES_API, TOKEN, Twist, drop
from tests.simulators.databricks.exchange import hold as hold_connection
from tests.simulators.databricks.exchange import reset as reset_connection
from tests.simulators.databricks.oauth import OAUTH, bearer
from tests.simulators.dxr.wire import Answered


class Properly(Protocol):
    """Carries the request out, with or without a twist; raises `ApiError` where it is refused."""

    def __call__(self, twist: Twist = ...) -> Coroutine[Any, Any, web.StreamResponse]: ...


@dataclass(frozen=True, slots=True)
class Fault:
    """What may strike a request; it waits for one that it `fits`."""

    name: ClassVar[str]

    def fits(self, method: str, path: str) -> bool:
        """Whether this can happen to such a request at all."""
        return True

    async def answer(self, request: web.Request, properly: Properly) -> web.StreamResponse:
        """Answer the request, or make it impossible to answer."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Status(Fault):
    """Nothing is done; the answer has this status, an error body and `Retry-After` exactly as given.

    `body` replaces the error body, with `content_type` said of it. The token endpoint sends its own form of error.
    """

    name: ClassVar[str] = "status"
    code: int
    retry_after: str | int | None = None
    error_code: str | None = None
    body: bytes | None = None
    content_type: str = "text/html"

    async def answer(self, request: web.Request, properly: Properly) -> web.StreamResponse:
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.body is not None:
            return web.Response(status=self.code, body=self.body, content_type=self.content_type, headers=headers)
        if request.path == TOKEN:
            return oauth_refusal(self.code, self.error_code or "server_error", "A simulated error.", headers)
        error = ApiError(self.code, "A simulated error.", error_code=self.error_code, headers=headers)
        return error.response(request.method)


@dataclass(frozen=True, slots=True)
class ResetBefore(Fault):
    """Nothing is done, no byte of the body is read: the client sees the connection reset."""

    name: ClassVar[str] = "reset_before"

    async def answer(self, request: web.Request, properly: Properly) -> web.StreamResponse:
        reset_connection(request)
        return Answered(keep_alive=False)


@dataclass(frozen=True, slots=True)
class ResetDuring(Fault):
    """The connection is reset when this much of an upload's body has come; nothing is stored.

    Of a shorter body all is read; it is not stored either.
    """

    name: ClassVar[str] = "reset_during"
    after_bytes: int

    def fits(self, method: str, path: str) -> bool:
        return uploads(method, path)

    async def answer(self, request: web.Request, properly: Properly) -> web.StreamResponse:
        record = request[EXCHANGE].record
        while record.body_bytes < self.after_bytes and (piece := await request.content.readany()):
            record.body_bytes += len(piece)
        reset_connection(request)
        return Answered(keep_alive=False)


@dataclass(frozen=True, slots=True)
class ResetAfter(Fault):
    """The request is carried out, a file is stored, but the connection is reset instead of an answer.

    Where only reading was asked, nothing is sent; a refusal is lost in the same way.
    """

    name: ClassVar[str] = "reset_after"

    async def answer(self, request: web.Request, properly: Properly) -> web.StreamResponse:
        if request.method not in {"GET", "HEAD"}:
            with suppress(ApiError):
                await properly()
        reset_connection(request)
        return Answered(keep_alive=False)


@dataclass(frozen=True, slots=True)
class CutBody(Fault):
    """A file or listing ends after n bytes under a Content-Length of the whole.

    At least the last byte is missing, so that only an empty body comes whole. With `reset` it ends by RST, and the
    client may lose some of the n bytes too.
    """

    name: ClassVar[str] = "cut_body"
    after_bytes: int
    reset: bool = False

    def fits(self, method: str, path: str) -> bool:
        return _reads_body(method, path)

    async def answer(self, request: web.Request, properly: Properly) -> web.StreamResponse:
        return await properly(Twist(stop_after=self.after_bytes, stopped=self._stopped))

    async def _stopped(self, request: web.Request) -> None:
        await drop(request, by_reset=self.reset)


@dataclass(frozen=True, slots=True)
class Stall(Fault):
    """Nothing is done and nothing comes, and the connection stays open; the client is who ends it.

    With `after_bytes` this much of a file or listing comes first.
    """

    name: ClassVar[str] = "stall"
    after_bytes: int | None = None
    _reached: asyncio.Event = field(default_factory=asyncio.Event, repr=False, compare=False)

    async def reached(self) -> None:
        """Wait until a request stands still."""
        await self._reached.wait()

    def fits(self, method: str, path: str) -> bool:
        return self.after_bytes is None or _reads_body(method, path)

    async def answer(self, request: web.Request, properly: Properly) -> web.StreamResponse:
        if self.after_bytes is None:
            await self._stopped(request)
        return await properly(Twist(stop_after=self.after_bytes, stopped=self._stopped))

    async def _stopped(self, request: web.Request) -> None:
        self._reached.set()
        await hold_connection(request)


@dataclass(frozen=True, slots=True)
class Hold(Fault):
    """The request waits until the test calls `open`, and is then carried out and answered as it should be.

    With `work_first` it waits behind its work: a file is stored, and its client does not know. What only reads has no
    such work.
    """

    name: ClassVar[str] = "hold"
    work_first: bool = False
    _reached: asyncio.Event = field(default_factory=asyncio.Event, repr=False, compare=False)
    _opened: asyncio.Event = field(default_factory=asyncio.Event, repr=False, compare=False)

    def open(self) -> None:
        """Let the request go on, and every later one that meets this fault."""
        self._opened.set()

    async def reached(self) -> None:
        """Wait until a request waits."""
        await self._reached.wait()

    async def answer(self, request: web.Request, properly: Properly) -> web.StreamResponse:
        if self.work_first and request.method not in {"GET", "HEAD"}:
            answer = await properly()
            await self._wait()
            return answer
        await self._wait()
        return await properly()

    async def _wait(self) -> None:
        self._reached.set()
        await self._opened.wait()


@dataclass(frozen=True, slots=True)
class Delay(Fault):
    """The request is carried out after so many seconds."""

    name: ClassVar[str] = "delay"
    seconds: float

    async def answer(self, request: web.Request, properly: Properly) -> web.StreamResponse:
        await asyncio.sleep(self.seconds)
        return await properly()


@dataclass(frozen=True, slots=True)
class HtmlLogin(Fault):
    """Nothing is done; the answer is 200 with the HTML of a login page, as a proxy would have it."""

    name: ClassVar[str] = "html_login"

    async def answer(self, request: web.Request, properly: Properly) -> web.StreamResponse:
        return login_page()


@dataclass(frozen=True, slots=True)
class Redirect(Fault):
    """Nothing is done; the answer is a redirect to a path of this workspace or to another host altogether."""

    name: ClassVar[str] = "redirect"
    location: str
    code: int = 302

    async def answer(self, request: web.Request, properly: Properly) -> web.StreamResponse:
        return web.Response(status=self.code, headers={"Location": self.location})


@dataclass(frozen=True, slots=True)
class StoredEmpty(Fault):
    """An upload is read whole and answered as if it were stored, but the file has no bytes."""

    name: ClassVar[str] = "stored_empty"

    def fits(self, method: str, path: str) -> bool:
        return uploads(method, path)

    async def answer(self, request: web.Request, properly: Properly) -> web.StreamResponse:
        return await properly(Twist(store_nothing=True))


@dataclass(frozen=True, slots=True)
class TokenExpired(Fault):
    """Nothing is done; 401. An OAuth token is refused from now on, a personal access token only this time."""

    name: ClassVar[str] = "token_expired"

    async def answer(self, request: web.Request, properly: Properly) -> web.StreamResponse:
        token = bearer(request.headers)
        if token is not None:
            request.app[OAUTH].expire(token)
        raise ApiError(401, "Token is expired.")


@dataclass(frozen=True, slots=True)
class BadPageToken(Fault):
    """A page of a listing comes as it should, but the token for the next one is refused with 400, however often.

    The last page has no token to be bad: it comes as it should.
    """

    name: ClassVar[str] = "bad_page_token"

    def fits(self, method: str, path: str) -> bool:
        return listings(method, path)

    async def answer(self, request: web.Request, properly: Properly) -> web.StreamResponse:
        return await properly(Twist(spoil_page_token=True))


def login_page() -> web.Response:
    """Return what a browser is meant to see."""
    return web.Response(text="<html><title>Sign in to Databricks</title></html>", content_type="text/html")


def uploads(method: str, path: str) -> bool:
    """Whether a file is being put; meant for `on`, as the next ones are."""
    return method == "PUT" and path.startswith(f"{FILES}/")


def downloads(method: str, path: str) -> bool:
    """Whether a file's content is asked for."""
    return method == "GET" and path.startswith(f"{FILES}/")


def listings(method: str, path: str) -> bool:
    """Whether a page of a directory is asked for."""
    return method == "GET" and path.startswith(f"{DIRECTORIES}/")


def mkdirs(method: str, path: str) -> bool:
    """Whether a directory is being made."""
    return method == "PUT" and path.startswith(f"{DIRECTORIES}/")


def files_api(method: str, path: str) -> bool:
    """Whether it is any request for files or directories."""
    return path.startswith(FILES_API)


def _reads_body(method: str, path: str) -> bool:
    return downloads(method, path) or listings(method, path)


On = Callable[[str, str], bool]

status = Status
reset_before = ResetBefore
reset_during = ResetDuring
reset_after = ResetAfter
cut_body = CutBody
stall = Stall
hold = Hold
delay = Delay
html_login = HtmlLogin
redirect = Redirect
stored_empty = StoredEmpty
token_expired = TokenExpired
bad_page_token = BadPageToken
