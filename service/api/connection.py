"""A connection with deadlines and bounds: what uvicorn leaves to a proxy, for a service that may stand without one."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from service.api import form
from service.api.headers import new_request_id, with_ours
from service.api.problems import MEDIA_TYPE, document, status_of
from service.errors import BusyError, DxrIngestError, RefusedError

if TYPE_CHECKING:
    import asyncio

    from starlette.types import ASGIApp

# How long a refused client may take to read why: closing at once would reset what is on its way to it.
_LINGER_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one client may take of the service."""

    connections_max: int = 512
    request_timeout_s: float = 10.0  # from the first byte, or from connecting, to the end of the body
    reading_timeout_s: float = 30.0  # a client that takes nothing of its answer
    idle_timeout_s: int = 5


class HttpConfig(uvicorn.Config):
    """How the application is served; there is no other door to it."""

    def __init__(self, app: ASGIApp, host: str, port: int, closing_s: int, bounds: Bounds | None = None) -> None:
        self.bounds = bounds or Bounds()
        super().__init__(
            cast("Any", app),  # uvicorn has its own types for the same ASGI
            host=host,
            port=port,
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # a client may write what it likes there, and nothing here depends on it
            h11_max_incomplete_event_size=form.HEAD_BYTES_MAX,
            timeout_keep_alive=self.bounds.idle_timeout_s,
            timeout_graceful_shutdown=closing_s,
        )


class Connection(H11Protocol):
    """Ends a request that does not come, a client that does not read, and the longest waiting one of too many."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._bounds = cast("HttpConfig", self.config).bounds
        self._deadline: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None
        self._refused = False
        self.waits_since_s = self.loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Bytes may come; too many connections make room first."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(self._bounds.request_timeout_s, self._expired)
        if len(self.connections) > self._bounds.connections_max and not self._made_room():
            self._refuse(BusyError("TOO_MANY_CONNECTIONS", "There are too many connections.", "Try again later."))

    def data_received(self, data: bytes) -> None:
        """Bytes have come: a part of a request starts its deadline, the whole of it ends that."""
        if self._refused:
            return
        super().data_received(data)
        if self.conn.their_state in {h11.IDLE, h11.SEND_BODY}:
            self._deadline = self._deadline or self.loop.call_later(self._bounds.request_timeout_s, self._expired)
        else:
            self._deadline = _cancelled(self._deadline)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words; ours follow
        """Called by uvicorn while it handles what h11 has against the request."""
        error = sys.exception()
        if isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == 431:
            self._refuse(form.head_too_large())
        else:
            self._refuse(RefusedError("MALFORMED", "This is not an HTTP/1.1 request.", "Correct the client."))

    def on_response_complete(self) -> None:
        """From here the client is the one to act."""
        self.waits_since_s = self.loop.time()
        super().on_response_complete()

    def timeout_keep_alive_handler(self) -> None:
        """An idle client has to go, also one that has not read its answer."""
        super().timeout_keep_alive_handler()
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def pause_writing(self) -> None:
        """The client does not read as fast as it is answered."""
        super().pause_writing()
        self._stuck = self.loop.call_later(self._bounds.reading_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It does again."""
        self._stuck = _cancelled(self._stuck)
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._deadline, self._stuck = _cancelled(self._deadline), _cancelled(self._stuck)
        super().connection_lost(exc)

    @property
    def is_waiting(self) -> bool:
        """For a request, or for the rest of one."""
        return self.conn.their_state in {h11.IDLE, h11.SEND_BODY} and not self.transport.is_closing()

    def _made_room(self) -> bool:
        waiting = [one for one in cast("set[Connection]", self.connections) if one.is_waiting and one is not self]
        if waiting:
            min(waiting, key=lambda one: one.waits_since_s).transport.abort()
        return bool(waiting)

    def _expired(self) -> None:
        self._deadline = None
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self.transport.close()  # it has asked for nothing
        else:
            self._refuse(RefusedError("REQUEST_TIMEOUT", "The request did not come in time.", "Send it at once."))

    def _refuse(self, error: DxrIngestError) -> None:
        """Answer, if that is still possible, and close once the client has had time to read it."""
        self._refused = True
        self._deadline = _cancelled(self._deadline)
        if cast("RequestResponseCycle | None", self.cycle) is not None:
            self.cycle.disconnected = True  # whoever waits for the rest of the body learns that it will not come
            self.cycle.message_event.set()
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.close()
            return
        request_id = new_request_id()
        body = json.dumps(document(error.code, error.message, error.hint, request_id)).encode()
        headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
        headers = with_ours([*headers, (b"connection", b"close")], request_id)
        answer = h11.Response(status_code=status_of(error.code), headers=headers)
        for event in (answer, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.abort)


def _cancelled(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
