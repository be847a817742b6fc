"""A snapshot run, told as a paragraph: begin an attempt, stream it to chunks, check it, publish its commit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from service.errors import DxrIngestError, LeaseLostError, StoreError, UpstreamError
from service.landing import layout
from service.landing.documents import FORMAT, Commit, encode
from service.landing.history import commit_names, commit_of_run, newest_uncapped, standing_full_snapshot
from service.landing.publish import put_whole
from service.snapshot.lander import BLOCK_BYTES, Contents, Limits, RowLander
from service.snapshot.plan import SnapshotPlan, SnapshotRules, refuse_capped_over_full, refuse_empty_or_shrunken
from service.snapshot.watchdog import RowWatchdog

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from service.clock import Clock
    from service.dxr.files import Body
    from service.landing.attempts import Attempt, Attempts
    from service.landing.port import Landing
    from service.retrying import Retrying
    from service.snapshot.progress import Progress


class Source(Protocol):
    """Where rows come from."""

    @property
    def name(self) -> str:
        """The origin, without credentials."""
        ...

    def open(self, query: str | None) -> AbstractAsyncContextManager[Body]:
        """Begin the stream."""
        ...


@dataclass(frozen=True, slots=True)
class SnapshotFlow:
    """What a snapshot needs, put together once in `service.wiring`."""

    source: Source
    landing: Landing
    limits: Limits
    rules: SnapshotRules
    stall_timeout_s: float
    accept_unproven: bool
    retrying: Retrying
    clock: Clock

    async def run(self, plan: SnapshotPlan, attempts: Attempts, progress: Progress) -> tuple[str, Commit]:
        """The path and content of the published commit. Raises the errors of `service.errors`; then there is none."""
        return await self.retrying.call(lambda: self._noted(plan, attempts, progress), attempts.used)

    async def _noted(self, plan: SnapshotPlan, attempts: Attempts, progress: Progress) -> tuple[str, Commit]:
        try:
            return await self._attempt(plan, attempts, progress)
        except (StoreError, LeaseLostError):
            raise  # not the attempt's fault: whoever takes the run next begins another one
        except DxrIngestError as error:
            await attempts.failed(error.code)
            raise

    async def _attempt(self, plan: SnapshotPlan, attempts: Attempts, progress: Progress) -> tuple[str, Commit]:
        # An attempt whose put failed may have published all the same: never a second commit of one run.
        if published := await commit_of_run(self.landing, plan.dataset, plan.run_id):
            return published
        if plan.record_cap is not None:
            full = await standing_full_snapshot(self.landing, plan.dataset, plan.ingestion_date)
            refuse_capped_over_full(plan, full)
        before = await newest_uncapped(self.landing, plan.dataset)
        names = await commit_names(self.landing, plan.dataset)
        progress.reset(before.rows if before else None)
        attempt = await attempts.begin(names[0].sequence if names else 0)
        contents, unproven = await self._stream(plan, attempt, progress)
        refuse_empty_or_shrunken(plan, self.rules, progress.rows, before)
        return await self._publish(plan, attempt, contents, progress, unproven=unproven)

    async def _stream(self, plan: SnapshotPlan, attempt: Attempt, progress: Progress) -> tuple[Contents, bool]:
        """The whole answer as published chunks, and whether its end is unproven."""
        watchdog = RowWatchdog(self.stall_timeout_s)
        folder = layout.attempt_folder(plan.dataset, plan.ingestion_date, plan.run_id, attempt.number)
        async with watchdog.opened(self.source.open(plan.query)) as body:
            unproven = self._refuse_unproven(body)
            # One thread: what it is given is landed in its order.
            with ThreadPoolExecutor(1, thread_name_prefix="landing") as thread:
                lander = RowLander(
                    self.landing,
                    folder,
                    self.limits,
                    content_encoding=body.content_encoding,
                    record_cap=plan.record_cap,
                    thread=thread,
                    progress=progress,
                    watch=watchdog.check,
                )
                try:
                    while not lander.capped and (block := await watchdog.block(body, BLOCK_BYTES, lander)):
                        await lander.feed(block)
                    return await lander.finish(), unproven
                except BaseException:
                    await lander.discard()
                    raise

    def _refuse_unproven(self, body: Body) -> bool:
        if body.unproven and not self.accept_unproven:
            raise UpstreamError(
                "STREAM_UNPROVEN",
                "DXR's answer has neither a length nor chunks: its end could not be told from a cut.",
                "Let a proxy that speaks HTTP/1.1 answer, or set DXR_ACCEPT_UNPROVEN_STREAMS=true to land it flagged.",
            )
        return body.unproven

    async def _publish(
        self, plan: SnapshotPlan, attempt: Attempt, contents: Contents, progress: Progress, *, unproven: bool
    ) -> tuple[str, Commit]:
        commit = Commit(
            format=FORMAT,
            kind="snapshot",
            dataset=plan.dataset,
            run_id=plan.run_id,
            sequence=attempt.sequence,
            ingestion_date=plan.ingestion_date,
            query=plan.query,
            record_cap=plan.record_cap,
            scope=None,
            source=self.source.name,
            unproven=unproven,
            started_at=attempt.started_at,
            completed_at=self.clock.now_text(),
            rows=sum(chunk.rows for chunk in contents.chunks),
            rejected_rows=sum(chunk.rows for chunk in contents.rejects),
            raw_bytes=sum(chunk.raw_bytes for chunk in contents.chunks),
            chunks=contents.chunks,
            rejects=contents.rejects,
            counts=progress.counts(),
        )
        path = layout.CommitName(attempt.sequence, plan.run_id, plan.dataset).path
        await put_whole(self.landing, path, encode(commit))
        return path, commit
