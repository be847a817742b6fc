"""A classification run, told as a paragraph: scan, pack, classify on every lane, mark what is gone, publish."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from service.classification.lane import Lane, LaneTimes, Outcome, Steps
from service.classification.packing import Budget, Packer
from service.classification.records import Volume, deleted, ids_of, labelled, unlabelled
from service.classification.volume import Unreadable, VolumeFile, clean_prefix, is_below
from service.classification.writer import RecordWriter
from service.dxr.names import Names
from service.errors import RefusedError
from service.landing import layout
from service.landing.documents import FORMAT, Commit, encode
from service.landing.history import commit_names, commit_of_run
from service.landing.publish import put_whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from concurrent.futures import Executor

    from service.classification.progress import Progress
    from service.classification.volume import Scan, VolumeFiles
    from service.clock import Clock
    from service.dxr.classifier import Classifier
    from service.dxr.session import DxrSession
    from service.landing.attempts import Attempts
    from service.landing.port import Landing
    from service.retrying import Retrying


@dataclass(frozen=True, slots=True)
class ClassificationPlan:
    """What one run is asked to classify."""

    run_id: str
    dataset: str
    ingestion_date: str
    prefix: str
    full: bool


class Memory(Protocol):
    """What is remembered of files between runs. A lost memory only means that everything is classified again."""

    async def unchanged(self, files: Sequence[VolumeFile], /) -> set[str]:
        """Paths of files that a landed run labelled as they are now."""
        ...

    async def seen(self, files: Sequence[VolumeFile | Unreadable], /) -> None:
        """This run has met these files."""
        ...

    async def labelled(self, files: Sequence[VolumeFile], /) -> None:
        """This run has labelled these files; it counts once the run has landed."""
        ...

    async def deleted(self, paths: Sequence[str], /) -> None:
        """This run tells that these files are gone; it counts once the run has landed."""
        ...

    def missing(self, prefix: str) -> AsyncIterator[list[str]]:
        """Paths below the prefix that earlier runs met, this one did not, and nobody has told to be gone."""
        ...

    def steps(self, batch: int, datasource_id: str, files: int, /) -> Steps:
        """Where a batch is written down."""
        ...


@dataclass(frozen=True, slots=True)
class ClassificationFlow:
    """What a classification needs, put together once in `service.wiring`."""

    session: DxrSession
    classifier: Classifier
    api_prefix: str
    datasource_ids: tuple[str, ...]
    volume: Volume
    files: VolumeFiles
    budget: Budget
    times: LaneTimes
    landing: Landing
    chunk_bytes_max: int
    retrying: Retrying
    workers: Executor
    clock: Clock

    async def run(
        self, plan: ClassificationPlan, attempts: Attempts, memory: Memory, progress: Progress
    ) -> tuple[str, Commit]:
        """The path and content of the published commit. Raises the errors of `service.errors`; then there is none."""
        if published := await commit_of_run(self.landing, plan.dataset, plan.run_id):
            return published
        names = await commit_names(self.landing, plan.dataset)
        attempt = await attempts.begin(names[0].sequence if names else 0)
        folder = layout.attempt_folder(plan.dataset, plan.ingestion_date, plan.run_id, attempt.number)
        writer = RecordWriter(self.landing, folder, self.chunk_bytes_max, self.workers)
        scan = self.files.scan(plan.prefix)
        try:
            await self._classify(plan, scan, writer, memory, progress)
            await self._mark_missing(plan, scan, writer, memory, progress)
            chunks = await writer.close()
        except BaseException:
            await writer.discard()
            raise
        commit = Commit(
            format=FORMAT,
            kind="classification",
            dataset=plan.dataset,
            run_id=plan.run_id,
            sequence=attempt.sequence,
            ingestion_date=plan.ingestion_date,
            scope={"prefix": clean_prefix(plan.prefix), "complete": plan.full and not scan.unlisted},
            source=self.session.origin,
            started_at=attempt.started_at,
            completed_at=self.clock.now_text(),
            rows=sum(chunk.rows for chunk in chunks),
            raw_bytes=sum(chunk.raw_bytes for chunk in chunks),
            chunks=chunks,
            counts=progress.counts(),
        )
        path = layout.CommitName(attempt.sequence, plan.run_id, plan.dataset).path
        await put_whole(self.landing, path, encode(commit))
        return path, commit

    async def _classify(
        self, plan: ClassificationPlan, scan: Scan, writer: RecordWriter, memory: Memory, progress: Progress
    ) -> None:
        """Fill the lanes from the scan; every queue is bounded, so the scan waits for the lanes."""
        batches: asyncio.Queue[list[VolumeFile] | None] = asyncio.Queue(maxsize=len(self.datasource_ids))
        lanes = _Lanes(self, writer, memory, progress)
        try:
            async with asyncio.TaskGroup() as group:
                for datasource_id in self.datasource_ids:
                    group.create_task(lanes.work(datasource_id, batches))
                await self._scan(plan, scan, batches, writer, memory, progress)
                await batches.put(None)
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _scan(
        self,
        plan: ClassificationPlan,
        scan: Scan,
        batches: asyncio.Queue[list[VolumeFile] | None],
        writer: RecordWriter,
        memory: Memory,
        progress: Progress,
    ) -> None:
        packer = Packer(self.budget)
        async for page in scan.pages():
            progress.scanned += len(page)
            await memory.seen(page)
            files = [file for file in page if isinstance(file, VolumeFile)]
            unchanged = set[str]() if plan.full else await memory.unchanged(files)
            progress.unchanged += len(unchanged)
            await self._refuse([file for file in page if isinstance(file, Unreadable)], writer, progress)
            for file in files:
                if file.relative_path in unchanged:
                    continue
                if self.budget.too_large(file):
                    reason = f"{file.size_bytes} bytes are more than a job may hold (DXR_MAX_BYTES_PER_JOB)"
                    await self._tell(writer, progress, [(file, "TOO_LARGE", reason)])
                elif batch := packer.add(file):
                    await batches.put(batch)
            progress.skipped = scan.skipped
        progress.skipped = scan.skipped
        if batch := packer.close():
            await batches.put(batch)

    async def _refuse(self, files: list[Unreadable], writer: RecordWriter, progress: Progress) -> None:
        told = [(VolumeFile(file.relative_path, 0, 0), "UNREADABLE", file.reason) for file in files]
        await self._tell(writer, progress, told)

    async def _tell(self, writer: RecordWriter, progress: Progress, told: list[tuple[VolumeFile, str, str]]) -> None:
        at = self.clock.now_text()
        await writer.add([unlabelled(self.volume, file, code, reason, at) for file, code, reason in told])
        progress.reasons.update(code for _, code, _ in told)

    async def _mark_missing(
        self, plan: ClassificationPlan, scan: Scan, writer: RecordWriter, memory: Memory, progress: Progress
    ) -> None:
        """Tell what is gone: only below the prefix, and never below a folder that could not be listed."""
        prefix = clean_prefix(plan.prefix)
        async for paths in memory.missing(prefix):
            if progress.scanned == 0:
                raise RefusedError(
                    "VOLUME_UNAVAILABLE",
                    "The volume was empty, though it had files before.",
                    "Check the mount of VOLUME_BASE_PATH; if the files really are gone, name a prefix that is left.",
                )
            gone = [path for path in paths if not any(is_below(path, folder) for folder in scan.unlisted)]
            at = self.clock.now_text()
            await writer.add([deleted(self.volume, path, at) for path in gone])
            await memory.deleted(gone)
            progress.deleted += len(gone)


class _Lanes:
    """The lanes of one run: who works, and what is done with what they bring."""

    def __init__(self, flow: ClassificationFlow, writer: RecordWriter, memory: Memory, progress: Progress) -> None:
        self._flow = flow
        self._writer = writer
        self._memory = memory
        self._progress = progress
        self._names = Names(flow.session, flow.api_prefix)
        self._numbers = itertools.count()
        self._working = len(flow.datasource_ids)

    async def work(self, datasource_id: str, batches: asyncio.Queue[list[VolumeFile] | None]) -> None:
        """One lane, until there is nothing left. A lane whose datasource is stuck leaves its work to the others."""
        flow = self._flow
        lane = Lane(datasource_id, flow.files, flow.classifier, flow.times, flow.retrying, self._progress)
        while (batch := await batches.get()) is not None:
            steps = self._memory.steps(next(self._numbers), datasource_id, len(batch))
            outcome = await lane.classify(batch, steps)
            await self._keep(outcome, steps)
            self._progress.lanes[datasource_id] = "idle"
            if outcome.stuck and self._working > 1:
                self._progress.lanes[datasource_id] = "stuck"
                self._working -= 1
                return
        await batches.put(None)  # for the other lanes

    async def _keep(self, outcome: Outcome, steps: Steps) -> None:
        flow, at = self._flow, self._flow.clock.now_text()
        names = await self._names.of({one for _, hit in outcome.labelled for one in ids_of(hit)})
        records: list[dict[str, Any]] = [
            labelled(flow.volume, file, outcome.origin, hit, names, at) for file, hit in outcome.labelled
        ]
        records += [unlabelled(flow.volume, file, code, reason, at) for file, code, reason in outcome.unlabelled]
        chunk = await self._writer.add(records)
        await steps.save("recorded", outcome.origin.job_id, outcome.origin.scan_id, chunk)
        await self._memory.labelled([file for file, _ in outcome.labelled])
        self._progress.labelled += len(outcome.labelled)
        self._progress.reasons.update(code for _, code, _ in outcome.unlabelled)
