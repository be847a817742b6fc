"""Takes queued runs and has them carried out, several datasets side by side; ends, hands back and recovers them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import structlog

from service.errors import DxrIngestError
from service.runs.execution import new_progress
from service.runs.receipts import note_receipts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from service.landing.port import Landing
    from service.runs.execution import Execution
    from service.runs.model import Run
    from service.runs.store import RunStore

_log = structlog.get_logger(__name__)
RUNS_AT_ONCE_MAX: Final = 4
_LOOK_EVERY_S: Final = 1.0


class Supervisor:
    """The only one that carries out runs of its store; the lock on STATE_DIR sees to that.

    The store allows one active run per dataset, so what is taken here side by side are different datasets.
    """

    def __init__(self, store: RunStore, landing: Landing, execution: Execution, receipt_poll_s: float) -> None:
        self._store = store
        self._landing = landing
        self._execution = execution
        self._receipt_poll_s = receipt_poll_s
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping: set[str] = set()
        self._work_came = asyncio.Event()

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncGenerator[None]:
        """Carry out runs until the block is left; then running ones are handed back, each after its own clean end."""
        loops = [
            asyncio.create_task(self._repeat(self._look, self._until_work_comes)),
            asyncio.create_task(self._repeat(self._note_receipts, self._until_next_poll)),
        ]
        try:
            yield
        finally:
            for task in loops:
                task.cancel()
            for run_id in self._tasks:
                self._stop(run_id)
            await asyncio.gather(*loops, *self._tasks.values(), return_exceptions=True)

    def wake(self) -> None:
        """There is a new queued run: do not wait for the next look."""
        self._work_came.set()

    async def cancel(self, run_id: str) -> Run | None:
        """Ask a run to stop; None when it is not active any more. A running one ends soon, perhaps still landed."""
        run = await request_cancel(self._store, run_id)
        if run is not None and run_id in self._tasks:
            self._stop(run_id)
        return run

    def _stop(self, run_id: str) -> None:
        """Cancel the task once: a second cancel would break what it does to end cleanly."""
        if run_id not in self._stopping:
            self._stopping.add(run_id)
            self._tasks[run_id].cancel()

    async def _repeat(self, work: Callable[[], Awaitable[None]], pause: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except DxrIngestError as error:  # the store or the landing is away: look again later
                _log.warning("supervisor_waits", code=error.code)
            except Exception as error:  # noqa: BLE001 - one bad look must not end all looking
                _log.error("supervisor_stumbled", exc_info=error)
            await pause()

    async def _until_work_comes(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_EVERY_S):
                await self._work_came.wait()
        self._work_came.clear()

    async def _until_next_poll(self) -> None:
        await asyncio.sleep(self._receipt_poll_s)

    async def _note_receipts(self) -> None:
        await note_receipts(self._store, self._landing)

    async def _look(self) -> None:
        for run in await self._store.left_running():
            if run.id not in self._tasks:
                await self._execution.recover(run)
        for run_id in await self._store.asked_to_stop() & self._tasks.keys():
            self._stop(run_id)
        for run in await self._store.queued():
            if len(self._tasks) >= RUNS_AT_ONCE_MAX:
                return
            if claimed := await self._store.claim(run.id):
                self._start(claimed)

    def _start(self, run: Run) -> None:
        task = asyncio.create_task(self._execution.carry_out(run, new_progress(run)), name=f"run {run.id}")
        self._tasks[run.id] = task
        task.add_done_callback(lambda done: self._done(run.id, done))

    def _done(self, run_id: str, task: asyncio.Task[None]) -> None:
        del self._tasks[run_id]
        self._stopping.discard(run_id)
        self._work_came.set()
        if not task.cancelled() and (error := task.exception()):
            _log.error("run_dropped", run_id=run_id, exc_info=error)


async def request_cancel(store: RunStore, run_id: str) -> Run | None:
    """Write down that a run shall stop; None when it is not active any more. Whoever carries it out looks there."""
    await store.get(run_id)
    for _ in range(2):  # between two statements it may have been claimed or handed back
        if run := await store.cancel_queued(run_id) or await store.request_cancel(run_id):
            return run
    return None
