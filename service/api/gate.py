"""Every request passes here first: its id, its token, its form; every answer leaves with our headers."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

import structlog
from starlette.requests import ClientDisconnect

from service.api import form, problems
from service.api.auth import READ, TRIGGER, authenticate
from service.api.headers import request_id_of, with_ours
from service.errors import DxrIngestError

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from service.api.auth import ApiToken, Tokens

_log = structlog.get_logger(__name__)
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_WRITING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class Gate:
    """Lets through what has a token and is well formed; only `open_paths` need no token, known or not."""

    def __init__(self, app: ASGIApp, tokens: Tokens, open_paths: Collection[str]) -> None:
        self._app = app
        self._tokens = tokens
        self._open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        request_id = request_id_of(scope["headers"])
        exchange = _Exchange(send, request_id, head_only=scope["method"] == "HEAD")
        scope = {**scope, "state": {**scope.get("state", {}), "request_id": request_id}}
        if exchange.head_only:
            scope["method"] = "GET"
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                with suppress(ClientDisconnect):
                    await self._pass(scope, receive, exchange)
            except Exception:
                if not exchange.complete:  # else it was answered, and logged, as a problem
                    raise
            finally:
                if scope["method"] not in _READING:
                    _audit(scope, exchange.status)

    async def _pass(self, scope: Scope, receive: Receive, exchange: _Exchange) -> None:
        headers = cast("list[tuple[bytes, bytes]]", scope["headers"])
        try:
            form.check_size(len(scope["raw_path"]) + len(scope["query_string"]), headers)
            if scope["path"] not in self._open_paths:
                scope["state"]["caller"] = self._caller(headers, scope["method"])
            form.check_head(headers, scope["query_string"])
            body = await _whole_body(receive)
            form.check_body(dict(headers).get(b"content-type", b"").decode("latin-1"), body)
        except DxrIngestError as error:
            await problems.known(scope["state"], error)(scope, receive, exchange.send)
        else:
            await self._app(scope, _repeated(body, receive), exchange.send)

    def _caller(self, headers: list[tuple[bytes, bytes]], method: str) -> ApiToken:
        given = [value for name, value in headers if name == b"authorization"]
        scheme, _, token = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
        value = token.strip() if scheme.lower() == b"bearer" else b""
        return authenticate(self._tokens.current(), value, READ if method in _READING else TRIGGER)


class _Exchange:
    """What goes back on one request: our headers added, the body left out of an answer to HEAD."""

    def __init__(self, send: Send, request_id: str, *, head_only: bool) -> None:
        self._send = send
        self._request_id = request_id
        self.head_only = head_only
        self.status: int | None = None
        self.complete = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": with_ours(message.get("headers", ()), self._request_id)}
            await self._send(message)
            if self.head_only:  # at once: a stream of events would not end by itself
                await self._send({"type": "http.response.body"})
                self.complete = True
        elif not self.complete:
            self.complete = not message.get("more_body", False)
            await self._send(message)


async def _whole_body(receive: Receive) -> bytes:
    """Raises `RefusedError` as soon as it is too large, `ClientDisconnect` when the rest does not come."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > form.BODY_BYTES_MAX:
            raise form.body_too_large()
        if not message.get("more_body", False):
            return bytes(body)


def _repeated(body: bytes, receive: Receive) -> Receive:
    """What was read once, then whatever comes."""
    read: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def repeat() -> Message:
        return read.pop() if read else await receive()

    return repeat


def _audit(scope: Scope, status: int | None) -> None:
    """Who asked for what, and what became of it, in our own names: what a caller made up is not repeated."""
    state, caller, route = scope["state"], scope["state"].get("caller"), scope.get("route")
    client = scope.get("client")
    _log.info(
        "audit",
        token=caller.name if caller else None,
        client=client[0] if client else None,
        method=scope["method"] if scope["method"] in _WRITING else None,
        route=getattr(route, "path", None),
        run_id=state.get("run_id"),
        status=status,
        outcome=state.get("code", "ACCEPTED" if status and status < 300 else "CUT"),
    )
