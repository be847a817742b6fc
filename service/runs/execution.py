"""Carries one claimed run to its end, and lets the landing have the last word about what that end is."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import structlog

from service.classification.flow import ClassificationPlan
from service.classification.progress import Progress as ClassificationProgress
from service.errors import ConfigurationError, DxrIngestError, ErrorReport, LeaseLostError, RefusedError, StoreError
from service.landing.history import commit_of_run
from service.runs.held import HeldLanding
from service.runs.memory import FileMemory
from service.runs.model import Kind, Run, State
from service.snapshot.plan import SnapshotPlan
from service.snapshot.progress import Progress as SnapshotProgress

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from service.classification.flow import ClassificationFlow
    from service.clock import Clock
    from service.landing.attempts import Attempt
    from service.landing.documents import Commit
    from service.landing.port import Landing
    from service.observability.metrics import Metrics
    from service.runs.claims import Claim
    from service.snapshot.flow import SnapshotFlow

_log = structlog.get_logger(__name__)
_TELL_EVERY_S: Final = 1.0
# A lease is extended three times in its life.
_HOLDS_PER_LEASE: Final = 3

Progress = SnapshotProgress | ClassificationProgress


class Work:
    """One run at work in this process; it can be stopped once, and then ends cleanly by itself."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.progress = new_progress(claim.run)
        self.lost = False
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    def begin(self, execution: Execution) -> asyncio.Task[None]:
        """Carry it out in a task of its own."""
        self._task = asyncio.create_task(execution.carry_out(self), name=f"run {self.claim.run.id}")
        return self._task

    def stop(self) -> None:
        """End it as asked, or hand it back. A second cancel would break what it does to end cleanly."""
        if self._task is not None and not self._stopped:
            self._stopped = True
            self._task.cancel()

    def drop(self) -> None:
        """It is not ours any more: leave it as it is."""
        self.lost = True
        self.stop()


@dataclass(frozen=True, slots=True)
class _Attempts:
    """The attempts of one run, counted by the store."""

    claim: Claim

    async def begin(self, newest_sequence: int) -> Attempt:
        attempt = await self.claim.begin_attempt(newest_sequence)
        _log.info("attempt_started", attempt=attempt.number)
        return attempt

    async def failed(self, code: str) -> None:
        await self.claim.attempt_failed(code)

    @property
    def used(self) -> int:
        return self.claim.failed_attempts


@dataclass(frozen=True, slots=True)
class Execution:
    """What carrying out a run needs."""

    landing: Landing
    snapshots: SnapshotFlow
    classifications: ClassificationFlow | None
    metrics: Metrics
    clock: Clock
    takeovers_max: int

    async def carry_out(self, work: Work) -> None:
        """Bring a claimed run to its end. `Work.stop` ends it as asked, or hands it back to the queue.

        Raises nothing. A run whose store is away, or which another process has taken, is dropped: its lease runs out,
        and whoever takes it next goes on.
        """
        run = work.claim.run
        began_s = self.clock.monotonic_s()
        with structlog.contextvars.bound_contextvars(run_id=run.id, dataset=run.request.dataset):
            _log.info("run_started", kind=run.request.kind.value, takeovers=work.claim.takeovers)
            try:
                async with self._kept(work):
                    ended = await self._to_its_end(work)
            except (LeaseLostError, StoreError, asyncio.CancelledError) as error:
                _log.warning("run_dropped", code=error.code if isinstance(error, DxrIngestError) else "LEASE_LOST")
                return
            self.metrics.run_ended(ended, self.clock.monotonic_s() - began_s)
            code = ended.error.code if ended.error else None
            _log.info("run_ended", state=ended.state.value, attempt=ended.attempt, code=code, **ended.counts)

    async def _to_its_end(self, work: Work) -> Run:
        claim = work.claim
        try:
            if await claim.hold():
                return await self._stopped(claim)
            async with _telling(work):
                path, commit = await self._flow(work)
            return await claim.land(state_of(commit), path, commit.counts)
        except asyncio.CancelledError:
            if work.lost:
                raise
            return await self._stopped(claim)
        except (LeaseLostError, StoreError):
            raise
        except DxrIngestError as error:
            return await self._failed(claim, ErrorReport.of(error))
        except Exception as error:  # noqa: BLE001 - the run must end; the log names the place, never the text
            _log.error("run_crashed", exc_info=error)
            return await self._failed(claim, ErrorReport.unexpected(error))

    async def _flow(self, work: Work) -> tuple[str, Commit]:
        claim, run, attempts = work.claim, work.claim.run, _Attempts(work.claim)
        if claim.takeovers > self.takeovers_max:
            raise RefusedError(
                "TAKEOVERS_EXHAUSTED",
                f"{claim.takeovers} processes have ended while they carried out this run (RUN_TAKEOVERS_MAX).",
                "Look for what ends them (memory limit, node, probes), then start the run again.",
            )
        landing = HeldLanding(self.landing, claim)
        if isinstance(work.progress, SnapshotProgress):
            snapshots = replace(self.snapshots, landing=landing)
            return await snapshots.run(_snapshot_plan(run), attempts, work.progress)
        if self.classifications is None:
            raise ConfigurationError("The volume to classify is not configured any more.", "Set VOLUME_* again.")
        classifications = replace(self.classifications, landing=landing)
        memory = FileMemory(claim, classifications.volume.path_of(""))
        return await classifications.run(_classification_plan(run), attempts, memory, work.progress)

    async def _stopped(self, claim: Claim) -> Run:
        if published := await self._published(claim):
            return await claim.land(*published)
        return await claim.cancel() if await claim.hold() else await claim.hand_back()

    async def _failed(self, claim: Claim, report: ErrorReport) -> Run:
        if published := await self._published(claim):
            return await claim.land(*published)
        return await claim.fail(report)

    async def _published(self, claim: Claim) -> tuple[State, str, dict[str, object]] | None:
        """What the landing says, if it can be asked; if not, a commit that was on its way is looked for later."""
        try:
            found = await commit_of_run(self.landing, claim.run.request.dataset, claim.run.id)
        except DxrIngestError as error:
            _log.warning("landing_not_asked", code=error.code)
            return None
        return (state_of(found[1]), found[0], found[1].counts) if found else None

    @contextlib.asynccontextmanager
    async def _kept(self, work: Work) -> AsyncGenerator[None]:
        """Extend the lease as long as the block lasts; drop the run when that did not succeed in time."""
        keeper = asyncio.create_task(self._keep(work))
        try:
            yield
        finally:
            keeper.cancel()
            await asyncio.wait([keeper])

    async def _keep(self, work: Work) -> None:
        lease_s = work.claim.claims.lease_s
        held_s = self.clock.monotonic_s()
        while True:
            await asyncio.sleep(lease_s / _HOLDS_PER_LEASE)
            asked_s = self.clock.monotonic_s()
            try:
                async with asyncio.timeout(max(0.0, held_s + lease_s - asked_s)):
                    if await work.claim.hold():
                        work.stop()
                held_s = asked_s
            except (LeaseLostError, TimeoutError):
                work.drop()
                return
            except StoreError as error:
                _log.warning("lease_not_extended", code=error.code)


@contextlib.asynccontextmanager
async def _telling(work: Work) -> AsyncGenerator[None]:
    """Keep the store's picture of a run about a second old."""

    async def tell() -> None:
        while True:
            await asyncio.sleep(_TELL_EVERY_S)
            with contextlib.suppress(DxrIngestError):  # a picture that is late harms nothing
                await work.claim.save_progress(work.progress.as_dict())

    teller = asyncio.create_task(tell())
    try:
        yield
    finally:
        teller.cancel()
        await asyncio.wait([teller])
        with contextlib.suppress(DxrIngestError):
            await work.claim.save_progress(work.progress.as_dict())


def new_progress(run: Run) -> Progress:
    """Progress of the run's kind, with what processes before have counted and nothing else would show again."""
    if run.request.kind is Kind.SNAPSHOT:
        return SnapshotProgress()
    return ClassificationProgress(resubmitted_unconfirmed=run.progress.get("resubmitted_unconfirmed", 0))


def state_of(commit: Commit) -> State:
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
