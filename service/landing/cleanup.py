"""Removes from the landing the chunks that nobody needs any more, file by file; commits and receipts stay."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import structlog

from service.errors import DxrIngestError, LandingError
from service.landing import layout
from service.landing.documents import decode_commit
from service.landing.history import receipt_of
from service.landing.retention import Facts, Reason, Retention, run_of, verdict

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection

    from service.landing.documents import Receipt
    from service.landing.port import Landing, Stored

    # For each of these run ids that the run store knows: whether that run has ended.
    StatesOf = Callable[[Collection[str]], Awaitable[dict[str, bool]]]

_log = structlog.get_logger(__name__)
_CHUNKS: Final = "chunks"
# Held in memory at once, about 5 MB; commits/ is listed once for each such batch.
_CHUNKS_AT_ONCE_MAX: Final = 10_000


@dataclass(slots=True)
class Tally:
    """How many files, and their bytes."""

    files: int = 0
    bytes: int = 0

    def add(self, size_bytes: int) -> None:
        """Count one more."""
        self.files += 1
        self.bytes += size_bytes


@dataclass(frozen=True, slots=True)
class Removed:
    """A chunk that is gone, or would be."""

    path: str
    reason: Reason
    bytes: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A chunk that should be gone and could not be deleted."""

    path: str
    code: str
    message: str


@dataclass(slots=True)
class Report:
    """What a clean-up did or, when `dry_run`, would do."""

    dry_run: bool
    tallies: defaultdict[Reason, Tally] = field(default_factory=lambda: defaultdict(Tally))
    removed: list[Removed] = field(default_factory=list[Removed])
    failed: list[Failure] = field(default_factory=list[Failure])
    # Commits, which protect every chunk of their run, and receipts, which count as none.
    unreadable: set[str] = field(default_factory=set[str])

    def of(self, *, removed: bool) -> dict[Reason, Tally]:
        """Counts by reason: of what goes, or of what stays."""
        return {
            reason: self.tallies[reason] for reason in Reason if reason in self.tallies and reason.removes is removed
        }

    def total(self, *, removed: bool) -> Tally:
        """Their sum."""
        tallies = self.of(removed=removed).values()
        return Tally(sum(tally.files for tally in tallies), sum(tally.bytes for tally in tallies))

    def as_dict(self) -> dict[str, Any]:
        """For `-o json`."""

        def shown(tallies: dict[Reason, Tally]) -> dict[str, dict[str, int]]:
            return {reason.value: {"files": tally.files, "bytes": tally.bytes} for reason, tally in tallies.items()}

        return {
            "dry_run": self.dry_run,
            "removed": shown(self.of(removed=True)),
            "kept": shown(self.of(removed=False)),
            "paths": [{"path": one.path, "reason": one.reason.value, "bytes": one.bytes} for one in self.removed],
            "failed": [{"path": one.path, "code": one.code, "message": one.message} for one in self.failed],
            "unreadable": sorted(self.unreadable),
        }


async def clean(
    landing: Landing, states_of: StatesOf, retention_days: int, now: dt.datetime, *, dry_run: bool
) -> Report:
    """Remove every chunk whose time is over, or only say which, and report.

    A file that cannot be deleted is reported and stops no other. Raises what a listing or `states_of` raises; what is
    gone by then is gone rightly.
    """
    retention = Retention(retention_days, now)
    report = Report(dry_run)
    async for chunks in _batches(landing):
        runs = await _facts(landing, states_of, {run_id for chunk in chunks if (run_id := run_of(chunk.path))}, report)
        for chunk in chunks:
            reason = verdict(chunk, runs.get(run_of(chunk.path) or ""), retention)
            if not reason.removes or await _gone(landing, chunk, reason, report):
                report.tallies[reason].add(chunk.size_bytes)
    removed, kept = report.total(removed=True), report.total(removed=False)
    _log.info(
        "landing_cleaned",
        dry_run=dry_run,
        removed=removed.files,
        removed_bytes=removed.bytes,
        kept=kept.files,
        kept_bytes=kept.bytes,
        failed=len(report.failed),
        unreadable=len(report.unreadable),
    )
    return report


async def _batches(landing: Landing) -> AsyncIterator[list[Stored]]:
    batch: list[Stored] = []
    async for chunk in landing.list(_CHUNKS):
        batch.append(chunk)
        if len(batch) == _CHUNKS_AT_ONCE_MAX:
            yield batch
            batch = []
    if batch:
        yield batch


async def _facts(landing: Landing, states_of: StatesOf, run_ids: set[str], report: Report) -> dict[str, Facts]:
    """What is known about the runs of chunks that are listed already.

    The order protects a commit that appears meanwhile: a run that has ended published before it did, so its commit is
    in a listing that begins after its state was asked.
    """
    states = await states_of(run_ids)
    names = await _commits_of(landing, run_ids)
    return {
        run_id: await _facts_of(landing, run_id, names[run_id], report, ended=states.get(run_id)) for run_id in run_ids
    }


async def _commits_of(landing: Landing, run_ids: set[str]) -> defaultdict[str, list[layout.CommitName]]:
    names: defaultdict[str, list[layout.CommitName]] = defaultdict(list)
    async for stored in landing.list(layout.COMMITS):
        name = layout.CommitName.parse(stored.path)
        if name and name.run_id in run_ids:
            names[name.run_id].append(name)
    return names


async def _facts_of(
    landing: Landing, run_id: str, commits: list[layout.CommitName], report: Report, *, ended: bool | None
) -> Facts:
    if ended is False or not commits:
        return Facts(ended)
    named: set[str] = set()
    unreadable = False
    for name in commits:
        paths = await _named(landing, name)
        if paths is None:
            report.unreadable.add(name.path)
            unreadable = True
        else:
            named |= paths
    return Facts(ended, frozenset(named), unreadable, None if unreadable else await _receipt(landing, run_id, report))


async def _named(landing: Landing, name: layout.CommitName) -> set[str] | None:
    """The paths that a commit names; None when it cannot be read, or is not the one that its name says."""
    try:
        content = await landing.read(name.path)
        commit = None if content is None else decode_commit(content, name.path)
    except LandingError:
        return None
    if commit is None or commit.run_id != name.run_id:
        return None
    return {chunk.path for chunk in (*commit.chunks, *commit.rejects)}


async def _receipt(landing: Landing, run_id: str, report: Report) -> Receipt | None:
    try:
        receipt = await receipt_of(landing, run_id)
        if receipt is None or receipt.run_id == run_id:
            return receipt
    except LandingError:
        pass
    report.unreadable.add(layout.receipt_path(run_id))
    return None


async def _gone(landing: Landing, chunk: Stored, reason: Reason, report: Report) -> bool:
    """Remove it, unless this is a rehearsal; False when that failed."""
    if not report.dry_run:
        try:
            await landing.delete(chunk.path)
        except DxrIngestError as error:
            report.failed.append(Failure(chunk.path, error.code, error.message))
            return False
        _log.debug("chunk_removed", path=chunk.path, reason=reason.value)
    report.removed.append(Removed(chunk.path, reason, chunk.size_bytes))
    return True
