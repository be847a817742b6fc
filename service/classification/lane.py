"""One lane: a datasource, one job at a time, from submit to labels."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import mimetypes
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from service.classification.matching import is_settled, match, scan_id_of
from service.classification.memory import FINISHED, SUBMITTED, SUBMITTING, Batch
from service.classification.records import Origin
from service.classification.volume import UnreadableFileError
from service.dxr.jobs import Phase
from service.dxr.uploads import MultipartBody, Upload, UploadBrokenError, upload_name
from service.errors import RefusedError, UpstreamError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from service.classification.progress import Progress
    from service.classification.volume import VolumeFile, VolumeFiles
    from service.dxr.classifier import Classifier
    from service.retrying import Retrying

FAILED_RESUBMITS_MAX: Final = 3
_SETTLE_EVERY_S_MAX: Final = 2.0
_TOO_LARGE: Final = "DXR_TOO_LARGE"
# No file is to blame for an address that is wrong.
_REDIRECTED: Final = "DXR_REDIRECTED"
# Errors that say that the job was not taken; after any other one it may exist.
_NOT_TAKEN: Final = frozenset({"DXR_THROTTLED", "DXR_TOKEN_ROTATED"})


@dataclass(frozen=True, slots=True)
class LaneTimes:
    """`DXR_POLL_INTERVAL_SECONDS`, `DXR_JOB_TIMEOUT_SECONDS`, `DXR_SETTLE_SECONDS`."""

    poll_s: float
    job_timeout_s: float
    settle_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of each file of a batch: exactly one of labelled (with its hit) or not (with code and reason)."""

    origin: Origin
    labelled: list[tuple[VolumeFile, Mapping[str, Any]]]
    unlabelled: list[tuple[VolumeFile, str, str]]
    stuck: bool


@dataclass(frozen=True, slots=True)
class Lane:
    """Classifies batches of files on one datasource; `save` writes a batch down before each step that could be lost."""

    datasource_id: str
    volume: VolumeFiles
    classifier: Classifier
    times: LaneTimes
    retrying: Retrying
    progress: Progress
    save: Callable[[Batch], Awaitable[None]]

    async def until_idle(self) -> None:
        """Wait for what somebody else has the datasource do, as long as a job may take."""
        deadline_s = _now_s() + self.times.job_timeout_s
        while await self.retrying.call(self._is_idle) is False and _now_s() < deadline_s:
            self._tell("waiting for the datasource")
            await asyncio.sleep(self.times.poll_s)

    async def classify(self, batch: Batch, *, sent: bool = False) -> Outcome:
        """Submit, wait, search; a batch that was `sent` by a process before is only waited for and searched.

        Raises `UpstreamError` and `CredentialError`; what a job can do wrong is an outcome.
        """
        broken: list[tuple[VolumeFile, str, str]] = []
        files = list(batch.uploads.values())
        job = await self._known(batch) if sent else None
        code = reason = ""
        for _ in range(1 + FAILED_RESUBMITS_MAX):
            if job is None or code:
                try:
                    job = await self._sent(batch.number, files, broken)
                except RefusedError as error:
                    if error.code == _REDIRECTED:
                        raise
                    told = {file for file, _, _ in broken}
                    refused = [(file, error.code, error.message) for file in files if file not in told]
                    return Outcome(self._origin(None), [], broken + refused, stuck=False)
            if job is None:
                return Outcome(self._origin(None), [], broken, stuck=False)
            code, reason, job = await self._ended(job)
            files = list(job.uploads.values())
            if code != "JOB_FAILED":
                break
        if code:
            stuck = code == "JOB_TIMEOUT" and await self.retrying.call(self._is_idle) is False
            return Outcome(self._origin(job), [], broken + [(file, code, reason) for file in files], stuck)
        assert job is not None  # noqa: S101 - the loop runs at least once
        await self.save(replace(job, state=FINISHED))
        matched = await self._settled(job)
        labelled = [(file, matched[name]) for name, file in job.uploads.items() if name in matched]
        missing = [
            (file, "NO_HIT", f"the index had no hit within {self.times.settle_s:g} seconds")
            for name, file in job.uploads.items()
            if name not in matched
        ]
        return Outcome(self._origin(job), labelled, broken + missing, stuck=False)

    async def _known(self, batch: Batch) -> Batch | None:
        """What a process before has sent; None when the search proved that no job holds it."""
        return await self._lost(batch) if batch.state == SUBMITTING else batch

    async def _sent(
        self, number: int, files: list[VolumeFile], broken: list[tuple[VolumeFile, str, str]]
    ) -> Batch | None:
        """The job of the files that can be read; those that cannot are added to `broken`. None when none is left."""
        left = list(files)
        async for attempt in self.retrying.attempts():
            with attempt:
                while left:
                    uploads = {upload_name(file.relative_path): file for file in left}
                    body = MultipartBody(
                        [_upload(name, file) for name, file in uploads.items()],
                        lambda uploads=uploads: self._contents(uploads),
                    )
                    batch = Batch(number, self.datasource_id, SUBMITTING, uploads)
                    await self.save(batch)
                    self._tell(f"sending {len(left)} files")
                    try:
                        job = await self.classifier.submit(self.datasource_id, body)
                    except RefusedError as error:
                        if error.code != _TOO_LARGE:
                            raise
                        # The largest files are to blame as far as anybody can know; the others may fit without them.
                        largest = max(file.size_bytes for file in left)
                        broken += [(file, error.code, error.message) for file in left if file.size_bytes == largest]
                        left = [file for file in left if file.size_bytes < largest]
                        continue
                    except (UpstreamError, UploadBrokenError) as error:
                        if body.unsent:
                            raise body.unsent from error
                        if body.broken:
                            file = uploads[body.broken.name]
                            broken.append((file, "UNREADABLE", body.broken.reason))
                            left.remove(file)
                            continue
                        if isinstance(error, UploadBrokenError) or error.code in _NOT_TAKEN:
                            raise
                        found = await self._lost(batch)
                        if found is None:
                            raise
                        await self.save(found)
                        return found
                    taken = replace(batch, state=SUBMITTED, job_id=job.job_id, scan_id=job.scan_id)
                    await self.save(taken)
                    self.progress.submitted += len(left)
                    return taken
                return None
        raise AssertionError  # the loop returns or raises

    async def _lost(self, batch: Batch) -> Batch | None:
        """The job whose answer was lost, found by its unique names once the datasource is idle; None: send again."""
        deadline_s = _now_s() + self.times.job_timeout_s
        self._tell("looking for a job whose answer was lost")
        while (idle := await self.retrying.call(self._is_idle)) is False and _now_s() < deadline_s:  # noqa: ASYNC110
            await asyncio.sleep(self.times.poll_s)
        settled_s = _now_s() + self.times.settle_s
        for name in itertools.cycle(batch.uploads):  # one file alone may never get a hit
            hits = await self.retrying.call(lambda name=name: self.classifier.hits_of_name(name))
            if ours := match(hits, batch.uploads, None):
                return replace(batch, state=SUBMITTED, scan_id=scan_id_of(ours.values()))
            if _now_s() >= settled_s:
                break
            await asyncio.sleep(min(self.times.poll_s, _SETTLE_EVERY_S_MAX))
        if idle is None:
            self.progress.resubmitted_unconfirmed += 1
        return None

    async def _ended(self, sent: Batch) -> tuple[str, str, Batch]:
        """Empty code when the job finished, else code and reason; and what is known of the job by then."""
        if not sent.job_id:  # found by its hits: it has finished
            return "", "", sent
        deadline_s, job_id = _now_s() + self.times.job_timeout_s, sent.job_id
        while True:
            job = await self.retrying.call(lambda: self.classifier.poll(self.datasource_id, job_id))
            if job is None:
                return "JOB_VANISHED", "DXR does not know the job any more", sent
            if job.scan_id is not None:
                sent = replace(sent, scan_id=job.scan_id)
            match job.phase:
                case Phase.FINISHED:
                    return "", "", sent
                case Phase.FAILED:
                    return "JOB_FAILED", f"the job failed {1 + FAILED_RESUBMITS_MAX} times", sent
                case Phase.CANCELLED:
                    return "JOB_CANCELLED", "the job was cancelled in Data X-Ray", sent
                case Phase.WAITING:
                    self._tell(f"waiting for a job of {len(sent.uploads)} files")
            if _now_s() >= deadline_s:
                return "JOB_TIMEOUT", f"the job did not end within {self.times.job_timeout_s:g} seconds", sent
            await asyncio.sleep(self.times.poll_s)

    async def _settled(self, sent: Batch) -> dict[str, Mapping[str, Any]]:
        """The hits, once each file has its own with tags, or the settling deadline has passed: the index lags."""
        deadline_s = _now_s() + self.times.settle_s
        self._tell("waiting for the index")
        while True:
            matched = match(await self._hits(sent), sent.uploads, sent.scan_id)
            if is_settled(matched, sent.uploads) or _now_s() >= deadline_s:
                return matched
            await asyncio.sleep(min(self.times.poll_s, _SETTLE_EVERY_S_MAX))

    async def _hits(self, sent: Batch) -> list[dict[str, Any]]:
        scan_id = sent.scan_id
        if scan_id is not None:
            return await self.retrying.call(lambda: self.classifier.hits_of_scan(scan_id))
        hits: list[dict[str, Any]] = []
        for name in sent.uploads:
            hits += await self.retrying.call(lambda name=name: self.classifier.hits_of_name(name))
        return hits

    async def _is_idle(self) -> bool | None:
        return await self.classifier.is_idle(self.datasource_id)

    async def _contents(self, uploads: Mapping[str, VolumeFile]) -> AsyncGenerator[tuple[int, bytes]]:
        try:
            async with contextlib.aclosing(self.volume.contents([*uploads.values()])) as contents:
                async for placed in contents:
                    yield placed
        except UnreadableFileError as error:
            raise UploadBrokenError([*uploads][error.place], error.reason) from error

    def _origin(self, sent: Batch | None) -> Origin:
        return Origin(self.datasource_id, (sent.job_id if sent else None) or "", sent.scan_id if sent else None)

    def _tell(self, what: str) -> None:
        self.progress.lanes[self.datasource_id] = what


def _upload(name: str, file: VolumeFile) -> Upload:
    return Upload(name, file.size_bytes, mimetypes.guess_type(name)[0] or "application/octet-stream")


def _now_s() -> float:
    return asyncio.get_running_loop().time()
