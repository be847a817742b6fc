"""Flows that do what they are told: the real snapshot flow without its stream, and a classification of one job."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from service.classification.memory import SUBMITTING, Batch
from service.classification.volume import VolumeFile
from service.errors import LandingError, RefusedError, UpstreamError
from service.landing import layout
from service.landing.documents import FORMAT, Chunk, Commit, encode
from service.landing.history import commit_names, commit_of_run
from service.landing.publish import put_whole
from service.snapshot.flow import SnapshotFlow
from service.snapshot.lander import Contents

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.classification.records import Volume
    from service.landing.port import Landing

DATASOURCE: Final = "11"
_POLL_S: Final = 0.5
_BATCHES: Final = 4


class BugError(Exception):
    """Something that nobody thought of."""


@dataclass(frozen=True)
class Plan:
    """How one attempt goes: how long it takes, and what it ends with."""

    seconds: float
    error: Callable[[], Exception] | None = None


PLANS: Final = {
    "quick": Plan(0.0),
    "good": Plan(1.0),
    "slow": Plan(5.0),
    "cut": Plan(1.0, lambda: UpstreamError("STREAM_CUT", "cut")),
    "stalled": Plan(9.0, lambda: UpstreamError("STREAM_STALLED", "stalled")),
    "refused": Plan(1.0, lambda: RefusedError("SHRUNKEN_SNAPSHOT", "shrunken")),
    "full": Plan(0.5, lambda: LandingError("LANDING_FULL", "full")),
    "bug": Plan(0.5, BugError),
}
# What a run may end with that fails.
CODES: Final = frozenset(
    {"STREAM_CUT", "STREAM_STALLED", "SHRUNKEN_SNAPSHOT", "LANDING_FULL", "INTERNAL", "LANDING_UNAVAILABLE"}
    | {"TAKEOVERS_EXHAUSTED", "INGEST_REFUSED"}
)


class Source:
    name = "nowhere"


@dataclass(frozen=True, slots=True)
class ScriptedSnapshots(SnapshotFlow):
    """All of the real flow but its stream."""

    next_plan: Callable[[str], Plan]

    async def _stream(self, plan: Any, attempt: Any, progress: Any) -> tuple[Contents, bool]:
        folder = layout.attempt_folder(plan.dataset, plan.ingestion_date, plan.run_id, attempt.number)
        progress.rows = 2
        return Contents(await _chunks(self.landing, folder, self.next_plan(plan.dataset)), []), False


@dataclass(frozen=True, slots=True)
class ScriptedClassifications:
    """The steps of the real flow that matter to the store and the landing, in its order."""

    landing: Landing
    next_plan: Callable[[str], Plan]
    volume: Volume

    async def run(self, plan: Any, attempts: Any, memory: Any, progress: Any) -> tuple[str, Commit]:
        if published := await commit_of_run(self.landing, plan.dataset, plan.run_id):
            return published
        names = await commit_names(self.landing, plan.dataset)
        attempt = await attempts.begin(names[0].sequence if names else 0)
        while not await memory.occupy(DATASOURCE):  # noqa: ASYNC110 - as the real one
            await asyncio.sleep(_POLL_S)
        for number in range(_BATCHES):
            await memory.save(Batch(number, DATASOURCE, SUBMITTING, {"0": VolumeFile("a.txt", 1, 1)}))
            await asyncio.sleep(_POLL_S)
        folder = layout.attempt_folder(plan.dataset, plan.ingestion_date, plan.run_id, attempt.number)
        chunks = await _chunks(self.landing, folder, self.next_plan(plan.dataset))
        progress.reasons.update(["UNREADABLE"] if plan.dataset.startswith("partial") else [])
        commit = Commit(
            format=FORMAT,
            kind="classification",
            dataset=plan.dataset,
            run_id=plan.run_id,
            sequence=attempt.sequence,
            rows=2,
            chunks=chunks,
            started_at=attempt.started_at,
            counts=progress.counts(),
        )
        path = layout.CommitName(attempt.sequence, plan.run_id, plan.dataset).path
        await put_whole(self.landing, path, encode(commit))
        return path, commit


async def _chunks(landing: Landing, folder: str, plan: Plan) -> list[Chunk]:
    chunks = [await _chunk(landing, folder, 0)]
    await asyncio.sleep(plan.seconds)
    if plan.error is not None:
        raise plan.error()
    return [*chunks, await _chunk(landing, folder, 1)]


async def _chunk(landing: Landing, folder: str, number: int) -> Chunk:
    part, data = landing.new_part(f"{folder}/{layout.chunk_name('part', number)}"), b"{}\n"
    part.write(data)
    await landing.publish(part, len(data))
    return Chunk(part.path, 1, len(data), len(data), hashlib.sha256(data).hexdigest())
