"""Looks for the Spark job's verdicts on landed runs and writes them down."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from service.errors import DxrIngestError, ErrorReport
from service.landing.documents import decode_commit
from service.landing.history import receipt_of
from service.runs.completeness import OVERDUE_AFTER
from service.runs.execution import state_of
from service.runs.model import Run, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.landing.documents import Receipt
    from service.landing.port import Landing
    from service.runs.store import RunStore

_log = structlog.get_logger(__name__)


def verdict(run: Run, receipt: Receipt) -> tuple[State, dict[str, Any], ErrorReport | None]:
    """What a receipt makes of a run: its state, its counts, its error. Pure."""
    counts = {**run.counts, "table_rows": receipt.table_rows, "quarantined_rows": receipt.quarantined_rows}
    if receipt.state == "refused":
        reason = receipt.reason or "no reason is given"
        report = ErrorReport(
            "INGEST_REFUSED",
            f"The Spark job refused the commit: {reason}.",
            "Look at what it names in the landing, then start the run again.",
            retryable=True,
        )
        return State.FAILED, counts, report
    if receipt.state == "ingested" and run.state is State.LANDED:
        return State.INGESTED, counts, None
    return run.state, counts, None


async def note_receipts(store: RunStore, landing: Landing) -> None:
    """Look once for every receipt that is missing. One that cannot be read is named in the log and tried again."""
    for run in await store.waiting_for_receipt():
        try:
            receipt = await receipt_of(landing, run.id)
        except DxrIngestError as error:
            _log.warning("receipt_unreadable", run_id=run.id, code=error.code)
            continue
        if receipt is not None:
            state, counts, error = verdict(run, receipt)
            await store.note_receipt(run, msgspec.to_builtins(receipt), counts, state, error)
            _log.info("receipt_seen", run_id=run.id, receipt=receipt.state, state=state.value)


def overdue(waiting: Sequence[Run], now: str) -> int:
    """How many of the runs that wait for a receipt have waited too long at `now` (ISO 8601). Pure."""
    limit = dt.datetime.fromisoformat(now) - OVERDUE_AFTER
    return sum(1 for run in waiting if run.ended_at and dt.datetime.fromisoformat(run.ended_at) < limit)


async def settle_unsure(store: RunStore, landing: Landing) -> None:
    """Look for commits that were on their way when their runs ended without one: the landing has the last word."""
    for run, path in await store.unsure():
        try:
            content = await landing.read(path)
            commit = None if content is None else decode_commit(content, path)
        except DxrIngestError as error:
            _log.warning("commit_unreadable", run_id=run.id, code=error.code)
            continue
        await store.settle(run.id, (state_of(commit), commit.counts) if commit else None)
        if commit is not None:
            _log.info("run_ended", run_id=run.id, state=state_of(commit).value)
