"""One lane: a datasource, one job at a time, from submit to labels."""

from __future__ import annotations

import asyncio
import mimetypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from service.classification.matching import is_settled, match, scan_id_of
from service.classification.records import Origin
from service.classification.volume import UnreadableFileError
from service.dxr.jobs import Phase
from service.dxr.uploads import MultipartBody, Upload, UploadBrokenError, upload_name
from service.errors import RefusedError, UpstreamError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from service.classification.progress import Progress
    from service.classification.volume import VolumeFile, VolumeFiles
    from service.dxr.classifier import Classifier
    from service.retrying import Retrying

FAILED_RESUBMITS_MAX: Final = 3
_SETTLE_EVERY_S_MAX: Final = 2.0
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
class _Sent:
    uploads: dict[str, VolumeFile]
    job_id: str
    scan_id: int | None


class Steps(Protocol):
    """Keeps what is known of a batch, before each step that could be lost."""

    async def save(self, state: str, job_id: str | None, scan_id: int | None, chunk: str | None = None) -> None:
        """Write it down; `chunk` is where its records went. Raises `StoreError`."""
        ...


@dataclass(frozen=True, slots=True)
class Lane:
    """Classifies batches of files on one datasource."""

    datasource_id: str
    volume: VolumeFiles
    classifier: Classifier
    times: LaneTimes
    retrying: Retrying
    progress: Progress

    async def classify(self, files: list[VolumeFile], steps: Steps) -> Outcome:
        """Submit, wait, search. Raises `UpstreamError` and `CredentialError`; what a job can do wrong is an outcome."""
        broken: list[tuple[VolumeFile, str, str]] = []
        sent: _Sent | None = None
        code = reason = ""
        for _ in range(1 + FAILED_RESUBMITS_MAX):
            try:
                sent = await self._sent(files, broken, steps)
            except RefusedError as error:
                refused = [(file, error.code, error.message) for file in files]
                return Outcome(self._origin(None), [], broken + refused, stuck=False)
            if sent is None:
                return Outcome(self._origin(None), [], broken, stuck=False)
            files = list(sent.uploads.values())
            code, reason, sent = await self._ended(sent)
            if code != "JOB_FAILED":
                break
        assert sent is not None  # noqa: S101 - the loop runs at least once
        if code:
            await steps.save("failed", sent.job_id, sent.scan_id)
            stuck = code == "JOB_TIMEOUT" and await self.retrying.call(self._is_idle) is False
            return Outcome(self._origin(sent), [], broken + [(file, code, reason) for file in files], stuck)
        await steps.save("finished", sent.job_id, sent.scan_id)
        matched = await self._settled(sent)
        labelled = [(file, matched[name]) for name, file in sent.uploads.items() if name in matched]
        missing = [
            (file, "NO_HIT", f"the index had no hit within {self.times.settle_s:g} seconds")
            for name, file in sent.uploads.items()
            if name not in matched
        ]
        return Outcome(self._origin(sent), labelled, broken + missing, stuck=False)

    async def _sent(
        self, files: list[VolumeFile], broken: list[tuple[VolumeFile, str, str]], steps: Steps
    ) -> _Sent | None:
        """The job of the files that can be read; those that cannot are added to `broken`. None when none is left."""
        left = list(files)
        async for attempt in self.retrying.attempts():
            with attempt:
                while left:
                    uploads = {upload_name(file.relative_path): file for file in left}
                    body = MultipartBody([self._upload(name, file) for name, file in uploads.items()])
                    await steps.save("submitting", None, None)
                    self._tell(f"sending {len(left)} files")
                    try:
                        job = await self.classifier.submit(self.datasource_id, body)
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
                        found = await self._lost(uploads)
                        if found is None:
                            raise
                        await steps.save("submitted", found.job_id, found.scan_id)
                        return found
                    await steps.save("submitted", job.job_id, job.scan_id)
                    self.progress.submitted += len(left)
                    return _Sent(uploads, job.job_id or "", job.scan_id)
                return None
        raise AssertionError  # the loop returns or raises

    async def _lost(self, uploads: dict[str, VolumeFile]) -> _Sent | None:
        """The job whose answer was lost, found by its unique names once the datasource is idle; None: send again."""
        deadline_s = _now_s() + self.times.job_timeout_s
        self._tell("looking for a job whose answer was lost")
        while (idle := await self.retrying.call(self._is_idle)) is False and _now_s() < deadline_s:  # noqa: ASYNC110
            await asyncio.sleep(self.times.poll_s)
        settled_s = _now_s() + self.times.settle_s
        name = next(iter(uploads))
        while True:
            hits = await self.retrying.call(lambda: self.classifier.hits_of_name(name))
            scan_id = scan_id_of(hits)
            if scan_id is not None:
                return _Sent(uploads, "", scan_id)
            if _now_s() >= settled_s:
                break
            await asyncio.sleep(min(self.times.poll_s, _SETTLE_EVERY_S_MAX))
        if idle is None:
            self.progress.resubmitted_unconfirmed += 1
        return None

    async def _ended(self, sent: _Sent) -> tuple[str, str, _Sent]:
        """Empty code when the job finished, else code and reason; and what is known of the job by then."""
        if not sent.job_id:  # found by its hits: it has finished
            return "", "", sent
        deadline_s, job_id = _now_s() + self.times.job_timeout_s, sent.job_id
        while True:
            job = await self.retrying.call(lambda: self.classifier.poll(self.datasource_id, job_id))
            if job is None:
                return "JOB_VANISHED", "DXR does not know the job any more", sent
            if job.scan_id is not None:
                sent = _Sent(sent.uploads, sent.job_id, job.scan_id)
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

    async def _settled(self, sent: _Sent) -> dict[str, Mapping[str, Any]]:
        """The hits, once each file has its own with tags, or the settling deadline has passed: the index lags."""
        deadline_s = _now_s() + self.times.settle_s
        self._tell("waiting for the index")
        while True:
            matched = match(await self._hits(sent), sent.uploads, sent.scan_id)
            if is_settled(matched, sent.uploads) or _now_s() >= deadline_s:
                return matched
            await asyncio.sleep(min(self.times.poll_s, _SETTLE_EVERY_S_MAX))

    async def _hits(self, sent: _Sent) -> list[dict[str, Any]]:
        scan_id = sent.scan_id
        if scan_id is not None:
            return await self.retrying.call(lambda: self.classifier.hits_of_scan(scan_id))
        hits: list[dict[str, Any]] = []
        for name in sent.uploads:
            hits += await self.retrying.call(lambda name=name: self.classifier.hits_of_name(name))
        return hits

    async def _is_idle(self) -> bool | None:
        return await self.classifier.is_idle(self.datasource_id)

    def _upload(self, name: str, file: VolumeFile) -> Upload:
        content_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return Upload(name, file.size_bytes, content_type, lambda: self._pieces(name, file))

    async def _pieces(self, name: str, file: VolumeFile) -> AsyncIterator[bytes]:
        try:
            async for piece in self.volume.pieces(file):
                yield piece
        except UnreadableFileError as error:
            raise UploadBrokenError(name, error.reason) from error

    def _origin(self, sent: _Sent | None) -> Origin:
        return Origin(self.datasource_id, sent.job_id if sent else "", sent.scan_id if sent else None)

    def _tell(self, what: str) -> None:
        self.progress.lanes[self.datasource_id] = what


def _now_s() -> float:
    return asyncio.get_running_loop().time()
