"""The simulated tenant: who may ask, what they asked for, and what was answered. How it is answered is in `faults`.

The On-Demand Classifier answers on the same application and with the same tokens, but is a part of its own.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

from aiohttp import web
from multidict import CIMultiDict

from tests.simulators.dxr import kql
from tests.simulators.dxr.classifier import Classifier
from tests.simulators.dxr.fault_plan import FaultPlan
from tests.simulators.dxr.sources import RowBlocks, Source, Together
from tests.simulators.dxr.wire import CLIENT_GONE, OPEN, SOURCE_FAILED, Served, Wire

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

STREAM_TYPES = ("application/x-ndjson", "application/jsonlines", "application/json")


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """What a client asked, never what it sent in a body; `headers` finds names in any case."""

    method: str
    path: str
    query: dict[str, str]
    headers: CIMultiDict[str]
    token_ok: bool


class DxrSimulator:
    """A tenant on 127.0.0.1 for the length of an `async with` block.

    `source`, `tokens`, `tokens_without_permission` and `api_version` may be replaced at any time and count from the
    next request. `requests` and `served` only grow. Without a `classifier` there is one without datasources, without
    `tls` it speaks plain HTTP.
    """

    def __init__(
        self,
        source: Source | None = None,
        *,
        tokens: tuple[str, ...] = ("simulated-token-" + "0" * 24,),
        port: int = 0,
        classifier: Classifier | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.source = Together() if source is None else source
        self.classifier = classifier or Classifier()
        self.tokens = tokens
        self.tokens_without_permission: tuple[str, ...] = ()
        self.api_version: Literal["v1", "vbeta"] = "v1"
        self.faults = FaultPlan()
        self.requests: list[RecordedRequest] = []
        self.served: list[Served] = []
        self._port = port
        self._tls = tls
        self._runner: web.AppRunner | None = None
        self._answering: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        """The base URL, without a trailing slash."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    @property
    def token(self) -> str:
        """The first token that works."""
        return self.tokens[0]

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._record])
        app.router.add_get("/api/{version:v1|vbeta}/files", self._guarded(self._files), allow_head=False)
        app.add_routes(self.classifier.routes(self._guarded))
        # A stalled stream ends with its client: only handler_cancellation tells the handler so.
        # Streams are cancelled before: the time-out is only for one that begins while the tenant stops.
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._tls).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for answer in self._answering:
            answer.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()

    async def idle(self) -> None:
        """Wait until nothing is being answered: after a client has gone, until the tenant has noticed."""
        while self._answering:
            await asyncio.wait(self._answering)

    @web.middleware
    async def _record(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        headers = CIMultiDict(request.headers)
        token_ok = bearer(headers) in self.tokens
        self.requests.append(
            RecordedRequest(request.method, request.path, dict(request.query), headers, token_ok=token_ok)
        )
        try:
            return await handler(request)
        except web.HTTPException as error:
            return refusal(error.status, error.reason)

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            token = bearer(request.headers)
            if token in self.tokens_without_permission:
                return web.Response(status=403)
            if token not in self.tokens:
                return refusal(401, "the token is missing or not known", {"WWW-Authenticate": "Bearer"})
            task = asyncio.current_task()
            assert task is not None
            self._answering.add(task)
            try:
                return await handler(request)
            finally:
                self._answering.discard(task)

        return guarded

    async def _files(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["version"] != self.api_version:
            return refusal(404, "Not Found")
        media_type = negotiated(request.headers.get("Accept", "*/*"))
        if media_type is None:
            return refusal(406, f"this resource is one of {', '.join(STREAM_TYPES)}")
        try:
            wanted = kql.parse(request.query["q"]) if request.query.get("q", "").strip() else None
        except ValueError as error:
            return refusal(400, str(error))
        blocks = self.source.blocks()
        rows = RowBlocks(blocks if wanted is None else kql.matching(blocks, wanted))
        return await self._answer(request, media_type, rows)

    async def _answer(self, request: web.Request, media_type: str, rows: RowBlocks) -> web.StreamResponse:
        served, fault = Served(), self.faults.take()
        self.served.append(served)
        wire = Wire(request, media_type, type(fault).__name__, served)
        try:
            await fault.answer(wire, rows)
        except ConnectionError:
            raise
        except Exception:
            # A source that fails must look like a cut: aiohttp would write its own 500 into the middle of the rows.
            served.ended = SOURCE_FAILED
            wire.abort()
            raise
        finally:
            if served.ended == OPEN:
                served.ended = CLIENT_GONE
        return wire.answered


def bearer(headers: "CIMultiDict[str] | Any") -> str | None:
    """The token of an `Authorization: Bearer` header, or None."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def negotiated(accept: str) -> str | None:
    """The media type to answer with: always the same lines, under the first of our names that the client takes."""
    ranges: dict[str, bool] = {}
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        refused = any(piece.replace(" ", "") in {"q=0", "q=0.0", "q=0.00", "q=0.000"} for piece in parameters)
        ranges[name] = not refused
    for media_type in STREAM_TYPES:
        if ranges.get(media_type, ranges.get("application/*", ranges.get("*/*", False))):
            return media_type
    return None


def refusal(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON error, as the API sends it."""
    return web.json_response({"status": status, "error": message}, status=status, headers=headers)
