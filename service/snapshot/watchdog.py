"""Ends a stream that yields no rows, whatever bytes it drips, and leaves a slow one that lives alone."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from service.errors import UpstreamError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager

    from service.dxr.files import Body

# A slow stream's rows are handed on this often, so that they land, count and show while it lives.
_GATHER_S: Final = 1.0


class RowWatchdog:
    """Adds up the seconds spent waiting for DXR since the last whole row; time spent on our side does not count."""

    def __init__(self, stall_timeout_s: float) -> None:
        self._stall_timeout_s = stall_timeout_s
        self._gather_s = min(_GATHER_S, stall_timeout_s / 4)
        self._waited_s = 0.0
        self._rows = 0

    @contextlib.asynccontextmanager
    async def opened(self, opening: AbstractAsyncContextManager[Body]) -> AsyncGenerator[Body]:
        """Enter `opening` within the limit. Raises `UpstreamError` (`STREAM_STALLED`)."""
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._stall_timeout_s):
                    body = await stack.enter_async_context(opening)
            except TimeoutError:
                raise self._stalled() from None
            yield body

    async def block(self, body: Body, block_bytes: int, rows: int) -> bytes:
        """About `block_bytes` of the body, less when it is slow, none at its end; `rows` is the count landed so far."""
        if rows > self._rows:
            self._rows, self._waited_s = rows, 0.0
        elif self._waited_s >= self._stall_timeout_s:
            raise self._stalled()
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(self._stall_timeout_s - self._waited_s):
                pieces = [await body.read()]
        except TimeoutError:
            raise self._stalled() from None
        size = len(pieces[0])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._gather_s):
                while pieces[-1] and size < block_bytes:
                    pieces.append(await body.read())
                    size += len(pieces[-1])
        self._waited_s += loop.time() - began
        return b"".join(pieces)

    def _stalled(self) -> UpstreamError:
        return UpstreamError(
            "STREAM_STALLED",
            f"DXR sent no whole row for {self._stall_timeout_s:g} seconds (row {self._rows + 1}).",
            "Look at the load of the Data X-Ray instance; DXR_HTTP_TIMEOUT is the limit.",
        )
