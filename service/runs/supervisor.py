"""Takes runs that nobody carries out and has them carried out, several datasets side by side; drains; keeps house."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from service import heap
from service.errors import DxrIngestError
from service.runs.execution import Work
from service.runs.model import Kind

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from service.runs.claims import Claim, Claims
    from service.runs.execution import Execution
    from service.runs.model import Run
    from service.runs.store import RunStore

_log = structlog.get_logger(__name__)
RUNS_AT_ONCE_MAX: Final = 4


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to look after beside the runs."""

    work: Callable[[], Awaitable[None]]
    every_s: float
    first_after_s: float = 0.0


_LOOK_EVERY_S: Final = 1.0
# What a stopped run may take to seal, look at the landing and write down its end.
_STOP_TIMEOUT_S: Final = 10.0


class Supervisor:
    """Any number of processes on one store may have one; claims see to it that each run is one process's."""

    def __init__(
        self,
        store: RunStore,
        claims: Claims,
        execution: Execution,
        chores: Sequence[Chore] = (),
    ) -> None:
        self._store = store
        self._claims = claims
        self._execution = execution
        self._chores = chores
        self._at_work: dict[str, Work] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._work_came = asyncio.Event()
        self.draining = False

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncGenerator[None]:
        """Carry out runs until the block is left; then running ones are handed back, each after its own clean end."""
        self.draining = False
        loops = [asyncio.create_task(self._repeat(self._look, self._until_work_comes))]
        loops += [asyncio.create_task(self._look_after(chore)) for chore in self._chores]
        try:
            yield
        finally:
            for task in loops:
                task.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            if not self.draining:
                await self.drain(0, _STOP_TIMEOUT_S)

    async def drain(self, finish_s: float, stop_s: float) -> None:
        """Claim nothing more; hand over classifications at once, and snapshots that have not ended after `finish_s`.

        What has not ended its work `stop_s` later is left to its lease.
        """
        self.draining = True
        for work in self._at_work.values():
            if work.claim.run.request.kind is Kind.CLASSIFICATION:
                work.stop()
        if self._tasks and finish_s > 0:
            await asyncio.wait(self._tasks.values(), timeout=finish_s)
        for work in self._at_work.values():
            work.stop()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=stop_s)

    def wake(self) -> None:
        """There is a new queued run: do not wait for the next look."""
        self._work_came.set()

    async def cancel(self, run_id: str) -> Run | None:
        """Ask a run to stop; None when it is not active any more. A running one ends soon, perhaps still landed."""
        run = await request_cancel(self._store, run_id)
        if run is not None and run_id in self._at_work:
            self._at_work[run_id].stop()
        return run

    async def _repeat(self, work: Callable[[], Awaitable[None]], pause: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except DxrIngestError as error:  # the store or the landing is away: look again later
                _log.warning("supervisor_waits", code=error.code)
            except Exception as error:  # noqa: BLE001 - one bad look must not end all looking
                _log.error("supervisor_stumbled", exc_info=error)
            await pause()

    async def _look_after(self, chore: Chore) -> None:
        await asyncio.sleep(chore.first_after_s)
        await self._repeat(chore.work, lambda: asyncio.sleep(chore.every_s))

    async def _until_work_comes(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_EVERY_S):
                await self._work_came.wait()
        self._work_came.clear()

    async def _look(self) -> None:
        for run_id in await self._claims.claimable():
            if self.draining or len(self._tasks) >= RUNS_AT_ONCE_MAX:
                return
            if run_id not in self._tasks and (claim := await self._claims.claim(run_id)):
                self._start(claim)

    def _start(self, claim: Claim) -> None:
        run_id, work = claim.run.id, Work(claim)
        self._at_work[run_id] = work
        self._tasks[run_id] = work.begin(self._execution)
        self._tasks[run_id].add_done_callback(lambda done: self._done(run_id, done))
        if self.draining:  # it was claimed while the drain began
            work.stop()

    def _done(self, run_id: str, task: asyncio.Task[None]) -> None:
        del self._tasks[run_id], self._at_work[run_id]
        self._work_came.set()
        heap.give_back()
        if not task.cancelled() and (error := task.exception()):
            _log.error("run_crashed", run_id=run_id, exc_info=error)


async def request_cancel(store: RunStore, run_id: str) -> Run | None:
    """Write down that a run shall stop; None when it is not active any more. Whoever carries it out looks there."""
    await store.get(run_id)
    for _ in range(2):  # between two statements it may have been claimed or handed back
        if run := await store.cancel_queued(run_id) or await store.request_cancel(run_id):
            return run
    return None
