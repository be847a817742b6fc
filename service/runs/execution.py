"""Carries one run to its end, and lets the landing have the last word about what that end is."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from service.errors import DxrIngestError, ErrorReport, LandingError
from service.landing.history import commit_of_run
from service.runs.model import Run, State
from service.snapshot.flow import Attempt, SnapshotFlow
from service.snapshot.plan import SnapshotPlan

if TYPE_CHECKING:
    from service.clock import Clock
    from service.landing.port import Landing
    from service.observability.metrics import Metrics
    from service.runs.store import RunStore
    from service.snapshot.progress import Progress

_log = structlog.get_logger(__name__)
_TELL_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Attempts:
    """The attempts of one run, counted by the store."""

    store: RunStore
    run_id: str

    async def begin(self, newest_sequence: int) -> Attempt:
        begun = await self.store.begin_attempt(self.run_id, newest_sequence)
        _log.info("attempt_started", run_id=self.run_id, attempt=begun.number)
        return Attempt(begun.number, begun.sequence, begun.started_at)


@dataclass(frozen=True, slots=True)
class Execution:
    """What carrying out a run needs."""

    store: RunStore
    landing: Landing
    snapshots: SnapshotFlow
    metrics: Metrics
    clock: Clock

    async def carry_out(self, run: Run, progress: Progress) -> None:
        """Bring a claimed run to its end. A cancel of this task ends the run as asked, or hands it back to the queue.

        Raises nothing but `StoreError`, when the end cannot be written down.
        """
        began_s = self.clock.monotonic_s()
        with structlog.contextvars.bound_contextvars(run_id=run.id, dataset=run.request.dataset):
            _log.info("run_started", kind=run.request.kind.value)
            ended = await self._to_its_end(run, progress)
            if ended is not None:
                self.metrics.run_ended(ended, self.clock.monotonic_s() - began_s)
                code = ended.error.code if ended.error else None
                _log.info("run_ended", state=ended.state.value, attempt=ended.attempt, code=code, **ended.counts)

    async def recover(self, run: Run) -> None:
        """A run whose process is gone: landed if its commit is there, cancelled if asked, else queued again."""
        try:
            ended = await self._stopped(run)
        except LandingError as error:
            _log.warning("run_not_recovered", run_id=run.id, code=error.code)
            if error.code == "LANDING_DOCUMENT":  # its own commit cannot be read: waiting would not help
                await self.store.fail(run.id, ErrorReport.of(error))
            return
        _log.warning("run_recovered", run_id=run.id, state=ended.state.value if ended else None)

    async def _to_its_end(self, run: Run, progress: Progress) -> Run | None:
        async with _telling(self.store, run.id, progress):
            try:
                path, commit = await self.snapshots.run(_plan(run), _Attempts(self.store, run.id), progress)
            except asyncio.CancelledError:
                return await self._stopped(run)
            except DxrIngestError as error:
                return await self._failed(run, ErrorReport.of(error))
            except Exception as error:  # noqa: BLE001 - the run must end; the log names the place, never the text
                _log.error("run_crashed", exc_info=error)
                return await self._failed(run, ErrorReport.unexpected(error))
        return await self.store.land(run.id, State.LANDED, path, commit.counts)

    async def _stopped(self, run: Run) -> Run | None:
        if published := await self._if_published(run):
            return published
        if await self.store.cancel_requested(run.id):
            return await self.store.cancel(run.id)
        return await self.store.hand_back(run.id)

    async def _failed(self, run: Run, report: ErrorReport) -> Run | None:
        with contextlib.suppress(LandingError):  # a landing that is away cannot say more than the error does
            if published := await self._if_published(run):
                return published
        return await self.store.fail(run.id, report)

    async def _if_published(self, run: Run) -> Run | None:
        found = await commit_of_run(self.landing, run.request.dataset, run.id)
        if found is None:
            return None
        path, commit = found
        return await self.store.land(run.id, State.LANDED, path, commit.counts)


@contextlib.asynccontextmanager
async def _telling(store: RunStore, run_id: str, progress: Progress):  # noqa: ANN202
    """Keep the store's picture of a run about a second old."""

    async def tell() -> None:
        while True:
            await asyncio.sleep(_TELL_EVERY_S)
            with contextlib.suppress(DxrIngestError):  # a picture that is late harms nothing
                await store.save_progress(run_id, progress.as_dict())

    teller = asyncio.create_task(tell())
    try:
        yield
    finally:
        teller.cancel()
        await asyncio.wait([teller])
        with contextlib.suppress(DxrIngestError):
            await store.save_progress(run_id, progress.as_dict())


def _plan(run: Run) -> SnapshotPlan:
    asked = run.request
    return SnapshotPlan(
        run.id, asked.dataset, asked.ingestion_date, asked.query, asked.record_cap, asked.accept_shrunken
    )
