"""A classification run, told as a paragraph: scan, pack, classify on every lane, mark what is gone, publish."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from service.classification.lane import Lane, LaneTimes, Outcome
from service.classification.memory import SUBMITTING, Batch, Memory, Told
from service.classification.packing import Budget, Packer
from service.classification.records import DELETED, LABELLED, Volume, deleted, ids_of, labelled, unlabelled
from service.classification.volume import Unreadable, VolumeFile, clean_prefix, is_below
from service.classification.writer import RecordWriter
from service.dxr.names import Names
from service.errors import DxrIngestError, RefusedError
from service.landing import layout
from service.landing.documents import FORMAT, Commit, encode
from service.landing.history import commit_names, commit_of_run
from service.landing.publish import put_whole

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from service.classification.progress import Progress
    from service.classification.volume import Scan, VolumeFiles
    from service.clock import Clock
    from service.dxr.classifier import Classifier
    from service.dxr.session import DxrSession
    from service.landing.attempts import Attempts
    from service.landing.port import Landing
    from service.retrying import Retrying

_SEAL_TIMEOUT_S: Final = 5.0
_SEAL_LOOK_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class ClassificationPlan:
    """What one run is asked to classify."""

    run_id: str
    dataset: str
    ingestion_date: str
    prefix: str
    full: bool


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
        """The path and content of the published commit. Raises the errors of `service.errors`; then there is none.

        A run that another process began goes on: its published chunks stay, its jobs are waited for and searched.
        """
        if published := await commit_of_run(self.landing, plan.dataset, plan.run_id):
            return published
        names = await commit_names(self.landing, plan.dataset)
        attempt = await attempts.begin(names[0].sequence if names else 0)
        progress.take_up(await memory.tally())
        folder = layout.attempt_folder(plan.dataset, plan.ingestion_date, plan.run_id, attempt.number)
        writer = RecordWriter(
            self.landing, folder, self.chunk_bytes_max, memory=memory, workers=self.workers, clock=self.clock
        )
        scan = self.files.scan(plan.prefix)
        try:
            await self._classify(plan, scan, writer, memory, progress)
            await self._mark_missing(plan, scan, writer, memory, progress)
            chunks = await writer.close()
        except asyncio.CancelledError:
            await self._save_what_is_open(writer)
            raise
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

    async def _save_what_is_open(self, writer: RecordWriter) -> None:
        """So that whoever takes over need not search for it again; if that fails, it does."""
        with contextlib.suppress(DxrIngestError, TimeoutError):
            async with asyncio.timeout(_SEAL_TIMEOUT_S):
                await writer.seal()
        await writer.discard()

    async def _classify(
        self, plan: ClassificationPlan, scan: Scan, writer: RecordWriter, memory: Memory, progress: Progress
    ) -> None:
        """Fill the lanes from the scan; every queue is bounded, so the scan waits for the lanes."""
        queue: asyncio.Queue[list[VolumeFile] | None] = asyncio.Queue(maxsize=len(self.datasource_ids))
        left = await memory.left()
        lanes = _Lanes(self, left, writer, memory, progress)
        sent = {file.relative_path for batch in left for file in batch.uploads.values()}
        progress.scanned += len(sent)
        try:
            async with asyncio.TaskGroup() as group:
                sealing = group.create_task(_sealing(writer))
                at_work = [group.create_task(lanes.work(one, queue)) for one in lanes.datasource_ids]
                await self._scan(plan, scan, queue, writer, memory, progress, sent)
                await queue.put(None)
                await asyncio.wait(at_work)
                sealing.cancel()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _scan(
        self,
        plan: ClassificationPlan,
        scan: Scan,
        queue: asyncio.Queue[list[VolumeFile] | None],
        writer: RecordWriter,
        memory: Memory,
        progress: Progress,
        sent: set[str],
    ) -> None:
        packer = Packer(self.budget)
        async for page in scan.pages():
            await memory.seen(page)
            known = sent | await memory.told(page)
            new = [found for found in page if found.relative_path not in known]
            progress.scanned += len(new)
            files = [file for file in new if isinstance(file, VolumeFile)]
            unchanged = set[str]() if plan.full else await memory.unchanged(files)
            progress.unchanged += len(unchanged)
            await self._refuse([file for file in new if isinstance(file, Unreadable)], writer, progress)
            for file in files:
                if file.relative_path in unchanged:
                    continue
                if self.budget.too_large(file):
                    reason = f"{file.size_bytes} bytes are more than a job may hold (DXR_MAX_BYTES_PER_JOB)"
                    await self._tell(writer, progress, [(file, "TOO_LARGE", reason)])
                elif batch := packer.add(file):
                    await queue.put(batch)
            progress.skipped = scan.skipped
        progress.skipped = scan.skipped
        if batch := packer.close():
            await queue.put(batch)

    async def _refuse(self, files: list[Unreadable], writer: RecordWriter, progress: Progress) -> None:
        told = [(VolumeFile(file.relative_path, 0, 0), "UNREADABLE", file.reason) for file in files]
        await self._tell(writer, progress, told)

    async def _tell(self, writer: RecordWriter, progress: Progress, told: list[tuple[VolumeFile, str, str]]) -> None:
        at = self.clock.now_text()
        entries = [(Told(file, code), unlabelled(self.volume, file, code, reason, at)) for file, code, reason in told]
        await writer.add(entries)
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
            await writer.add([(Told(VolumeFile(path, 0, 0), DELETED), deleted(self.volume, path, at)) for path in gone])
            progress.deleted += len(gone)


class _Lanes:
    """The lanes of one run: who works, and what is done with what they bring."""

    def __init__(
        self, flow: ClassificationFlow, left: list[Batch], writer: RecordWriter, memory: Memory, progress: Progress
    ) -> None:
        self._flow = flow
        self._left = left
        self._writer = writer
        self._memory = memory
        self._progress = progress
        self._names = Names(flow.session, flow.api_prefix, flow.retrying)
        self._numbers = itertools.count(max((batch.number for batch in left), default=-1) + 1)
        self._working = len(self.datasource_ids)
        self._all_taken = asyncio.Event()

    @property
    def datasource_ids(self) -> list[str]:
        """Those that are configured, and those that have jobs of a process before."""
        return list(dict.fromkeys([*self._flow.datasource_ids, *(batch.datasource_id for batch in self._left)]))

    async def work(self, datasource_id: str, queue: asyncio.Queue[list[VolumeFile] | None]) -> None:
        """One lane, until there is nothing left. A lane whose datasource is stuck leaves its work to the others."""
        flow, left = self._flow, [batch for batch in self._left if batch.datasource_id == datasource_id]
        lane = Lane(
            datasource_id, flow.files, flow.classifier, flow.times, flow.retrying, self._progress, self._memory.save
        )
        if not await self._occupied(datasource_id, wait_always=bool(left)):
            return
        for batch in left:
            await self._keep(await lane.classify(batch, sent=True))
        if datasource_id not in flow.datasource_ids:
            self._working -= 1
            return
        if not left:
            await lane.until_idle()
        while (files := await queue.get()) is not None:
            uploads = {str(number): file for number, file in enumerate(files)}
            batch = Batch(next(self._numbers), datasource_id, SUBMITTING, uploads)
            outcome = await lane.classify(batch)
            await self._keep(outcome)
            self._progress.lanes[datasource_id] = "idle"
            if outcome.stuck and self._working > 1:
                self._progress.lanes[datasource_id] = "stuck"
                self._working -= 1
                return
        self._all_taken.set()
        await queue.put(None)  # for the other lanes

    async def _occupied(self, datasource_id: str, *, wait_always: bool) -> bool:
        """Wait for the datasource; False when the other lanes have taken all the work meanwhile."""
        while not await self._memory.occupy(datasource_id):
            self._progress.lanes[datasource_id] = "waiting for another run"
            if self._all_taken.is_set() and not wait_always:
                return False
            await asyncio.sleep(self._flow.times.poll_s)
        return True

    async def _keep(self, outcome: Outcome) -> None:
        flow, at = self._flow, self._flow.clock.now_text()
        names = await self._names.of({one for _, hit in outcome.labelled for one in ids_of(hit)})
        entries = [
            (Told(file, LABELLED), labelled(flow.volume, file, outcome.origin, hit, names, at))
            for file, hit in outcome.labelled
        ]
        entries += [
            (Told(file, code), unlabelled(flow.volume, file, code, reason, at))
            for file, code, reason in outcome.unlabelled
        ]
        await self._writer.add(entries)
        self._progress.labelled += len(outcome.labelled)
        self._progress.reasons.update(code for _, code, _ in outcome.unlabelled)


async def _sealing(writer: RecordWriter) -> None:
    while True:
        await asyncio.sleep(_SEAL_LOOK_S)
        await writer.seal_if_old()
