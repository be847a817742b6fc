"""An event loop whose time costs nothing, in which a part of the tasks can stand still as a stopped process does."""

from __future__ import annotations

import asyncio
import heapq
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Coroutine

_TURNS_AT_ONE_TIME_MAX = 100_000


class Owner(Protocol):
    """Whose tasks and timers these are."""

    tasks: dict[asyncio.Task[Any], None]  # in their order: everything has to be repeatable
    parked: list[asyncio.Handle]

    @property
    def stands_still(self) -> bool: ...


OWNER: ContextVar[Any] = ContextVar("owner", default=None)


class StuckError(Exception):
    """Nothing will ever happen again, or no time passes any more."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time jumps to the next timer when nothing is left to do. No threads and no sockets: everything is repeatable."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._turns = 0
        self.set_task_factory(_noted)

    def time(self) -> float:
        return self._now_s

    def resume(self, owner: Owner) -> None:
        """What became due while the owner stood still is due now, in its order."""
        self._ready.extend(owner.parked)
        owner.parked.clear()

    def _run_once(self) -> None:
        self._turns += 1
        while self._scheduled and self._scheduled[0]._cancelled:
            heapq.heappop(self._scheduled)._scheduled = False
        if not self._ready and not self._stopping:
            if not self._scheduled:
                raise StuckError("nothing is left to wait for")
            self._pass_to(self._scheduled[0]._when)
        if self._turns > _TURNS_AT_ONE_TIME_MAX:
            raise StuckError(f"time stands still at {self._now_s}")
        while self._scheduled and self._scheduled[0]._when <= self._now_s:
            handle = heapq.heappop(self._scheduled)
            handle._scheduled = False
            self._ready.append(handle)
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if handle._cancelled:
                continue
            owner = handle._context.get(OWNER)
            if owner is not None and owner.stands_still:
                owner.parked.append(handle)
            else:
                handle._run()

    def _pass_to(self, when_s: float) -> None:
        if when_s > self._now_s:
            self._now_s, self._turns = when_s, 0


def _noted(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **more: Any) -> asyncio.Task[Any]:
    """A task that its owner knows, so that it can end with it."""
    task = asyncio.Task(coroutine, loop=loop, **more)
    if (owner := OWNER.get()) is not None:
        owner.tasks[task] = None
        task.add_done_callback(owner.tasks.pop)
    return task
