"""Carries one run to its end, and lets the landing have the last word about what that end is."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from service.classification.flow import ClassificationPlan
from service.classification.progress import Progress as ClassificationProgress
from service.errors import ConfigurationError, DxrIngestError, ErrorReport
from service.landing.history import commit_of_run
from service.runs.memory import FileMemory
from service.runs.model import Kind, Run, State
from service.snapshot.plan import SnapshotPlan
from service.snapshot.progress import Progress as SnapshotProgress

if TYPE_CHECKING:
    from service.classification.flow import ClassificationFlow
    from service.clock import Clock
    from service.landing.attempts import Attempt
    from service.landing.documents import Commit
    from service.landing.port import Landing
    from service.observability.metrics import Metrics
    from service.runs.store import RunStore
    from service.snapshot.flow import SnapshotFlow

_log = structlog.get_logger(__name__)
_TELL_EVERY_S: Final = 1.0

Progress = SnapshotProgress | ClassificationProgress


@dataclass(frozen=True, slots=True)
class _Attempts:
    """The attempts of one run, counted by the store."""

    store: RunStore
    run_id: str

    async def begin(self, newest_sequence: int) -> Attempt:
        attempt = await self.store.begin_attempt(self.run_id, newest_sequence)
        _log.info("attempt_started", run_id=self.run_id, attempt=attempt.number)
        return attempt


@dataclass(frozen=True, slots=True)
class Execution:
    """What carrying out a run needs."""

    store: RunStore
    landing: Landing
    snapshots: SnapshotFlow
    classifications: ClassificationFlow | None
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
        except DxrIngestError as error:
            _log.warning("run_not_recovered", run_id=run.id, code=error.code)
            if error.code == "LANDING_DOCUMENT":  # its own commit cannot be read: waiting would not help
                await self.store.fail(run.id, ErrorReport.of(error))
            return
        _log.warning("run_recovered", run_id=run.id, state=ended.state.value if ended else None)

    async def _to_its_end(self, run: Run, progress: Progress) -> Run | None:
        async with _telling(self.store, run.id, progress):
            try:
                path, commit = await self._flow(run, progress)
            except asyncio.CancelledError:
                return await self._stopped(run)
            except DxrIngestError as error:
                return await self._failed(run, ErrorReport.of(error))
            except Exception as error:  # noqa: BLE001 - the run must end; the log names the place, never the text
                _log.error("run_crashed", exc_info=error)
                return await self._failed(run, ErrorReport.unexpected(error))
        return await self._landed(run, path, commit)

    async def _flow(self, run: Run, progress: Progress) -> tuple[str, Commit]:
        attempts = _Attempts(self.store, run.id)
        if isinstance(progress, SnapshotProgress):
            return await self.snapshots.run(_snapshot_plan(run), attempts, progress)
        if self.classifications is None:
            raise ConfigurationError("The volume to classify is not configured any more.", "Set VOLUME_* again.")
        memory = FileMemory(self.store, run.id, self.classifications.volume.path_of(""))
        return await self.classifications.run(_classification_plan(run), attempts, memory, progress)

    async def _stopped(self, run: Run) -> Run | None:
        if published := await self._if_published(run):
            return published
        if await self.store.cancel_requested(run.id):
            return await self.store.cancel(run.id)
        return await self.store.hand_back(run.id)

    async def _failed(self, run: Run, report: ErrorReport) -> Run | None:
        found: tuple[str, Commit] | None = None
        with contextlib.suppress(DxrIngestError):  # a landing that is away cannot say more than the error does
            found = await commit_of_run(self.landing, run.request.dataset, run.id)
        return await self._landed(run, *found) if found else await self.store.fail(run.id, report)

    async def _if_published(self, run: Run) -> Run | None:
        found = await commit_of_run(self.landing, run.request.dataset, run.id)
        return await self._landed(run, *found) if found else None

    async def _landed(self, run: Run, path: str, commit: Commit) -> Run | None:
        return await self.store.land(run.id, _state_of(commit), path, commit.counts)


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


def new_progress(run: Run) -> Progress:
    """Empty progress of the run's kind."""
    return SnapshotProgress() if run.request.kind is Kind.SNAPSHOT else ClassificationProgress()


def _state_of(commit: Commit) -> State:
    """A classification that could not label every file has landed in part."""
    return State.PARTIAL if commit.counts.get("reasons") else State.LANDED


def _snapshot_plan(run: Run) -> SnapshotPlan:
    asked = run.request
    return SnapshotPlan(
        run.id, asked.dataset, asked.ingestion_date, asked.query, asked.record_cap, asked.accept_shrunken
    )


def _classification_plan(run: Run) -> ClassificationPlan:
    asked = run.request
    return ClassificationPlan(run.id, asked.dataset, asked.ingestion_date, asked.prefix, asked.full_scan)
