"""Ends a stream that yields no rows, whatever bytes it drips, and leaves a slow one that lives alone."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, Protocol

from service.errors import UpstreamError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager

    from service.dxr.files import Body

# A slow stream's rows are handed on this often, so that they land, count and show while it lives.
_GATHER_S: Final = 1.0


class Sorting(Protocol):
    """What takes the blocks and finds the rows in them."""

    sorting_s: float

    @property
    def rows(self) -> int:
        """Whole rows so far."""
        ...


class RowWatchdog:
    """Adds up the seconds since the last whole row that went into waiting for DXR and into sorting what it sent.

    Time that the landing takes does not count.
    """

    def __init__(self, stall_timeout_s: float) -> None:
        self._stall_timeout_s = stall_timeout_s
        self._gather_s = min(_GATHER_S, stall_timeout_s / 4)
        self._waited_s = 0.0
        self._last_row_at_s = 0.0
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

    def check(self, sorting: Sorting) -> None:
        """Raise `UpstreamError` (`STREAM_STALLED`) when it is too long since the last whole row."""
        self._left_s(sorting)

    async def block(self, body: Body, block_bytes: int, sorting: Sorting) -> list[bytes]:
        """At least `block_bytes` of the body, less when it is slow, none at its end. Raises `UpstreamError`."""
        left_s = self._left_s(sorting)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            async with asyncio.timeout(left_s):
                piece = await body.read()
        except TimeoutError:
            raise self._stalled() from None
        pieces: list[bytes] = []
        missing = block_bytes
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._gather_s):
                while piece:
                    pieces.append(piece)
                    missing -= len(piece)
                    if missing <= 0:
                        break
                    piece = await body.read()
        self._waited_s += loop.time() - began_s
        return pieces

    def _left_s(self, sorting: Sorting) -> float:
        spent_s = self._waited_s + sorting.sorting_s
        if sorting.rows > self._rows:
            self._rows, self._last_row_at_s = sorting.rows, spent_s
        left_s = self._stall_timeout_s - (spent_s - self._last_row_at_s)
        if left_s <= 0:
            raise self._stalled()
        return left_s

    def _stalled(self) -> UpstreamError:
        return UpstreamError(
            "STREAM_STALLED",
            f"DXR sent no whole row for {self._stall_timeout_s:g} seconds (row {self._rows + 1}).",
            "Look at the load of the Data X-Ray instance; DXR_HTTP_TIMEOUT is the limit.",
        )
