"""Serves the application until SIGTERM or Ctrl-C, then ends with exit code 0."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

import structlog
import uvicorn

from service import wiring
from service.api.app import create_app
from service.api.auth import tokens_of
from service.api.connection import HttpConfig

if TYPE_CHECKING:
    import socket
    from collections.abc import Generator

    from service.runs.supervisor import Supervisor
    from service.runs.watch import RunWatch
    from service.settings import Settings

_log = structlog.get_logger(__name__)
# What closing the connections, and handing back what is still running, may take of the whole shutdown.
_CLOSING_S = 1
_STOP_S_MAX = 5.0


async def serve(settings: Settings) -> None:
    """Open the service, carry out its runs, answer requests. Raises `ConfigurationError` before anything is started."""
    tokens = tokens_of(settings)
    async with wiring.opened(settings) as service, service.supervisor.working():
        config = HttpConfig(create_app(service, tokens), settings.service_host, settings.service_port, _CLOSING_S)
        await _Server(config, service.supervisor, service.watch, settings.service_drain_seconds).serve()


class _Server(uvicorn.Server):
    """Drains first, while it goes on to answer, then closes; a second signal closes at once.

    (uvicorn's own handler raises the signal again after its shutdown, which would skip ours and end with 143.)
    """

    def __init__(self, config: uvicorn.Config, supervisor: Supervisor, watch: RunWatch, drain_s: float) -> None:
        super().__init__(config)
        self._supervisor = supervisor
        self._watch = watch
        self._drain_s = drain_s
        self._draining: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for server in self.servers:
            for listening in server.sockets:
                host, port = listening.getsockname()[:2]
                _log.info("listening", address=f"http://{host}:{port}")

    def _stop(self) -> None:
        if self._draining is not None:
            self.should_exit = True
            return
        _log.info("draining")
        self._watch.close()
        stop_s = max(1.0, min(_STOP_S_MAX, self._drain_s / 3))
        finish_s = max(0.0, self._drain_s - stop_s - _CLOSING_S)
        self._draining = asyncio.create_task(self._supervisor.drain(finish_s, stop_s))
        self._draining.add_done_callback(self._drained)

    def _drained(self, _task: asyncio.Task[None]) -> None:
        _log.info("stopping")
        self.should_exit = True
