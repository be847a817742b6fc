"""Gathers what the run store and the landing tell of every dataset's days: were they complete?"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
import structlog

from service.clock import as_text, from_microseconds, microseconds
from service.errors import DxrIngestError, LandingError
from service.runs.completeness import Dataset, DatasetDays, Fact, dataset_days
from service.runs.database import whole
from service.runs.execution import state_of
from service.runs.model import Kind, State
from service.runs.schema import runs

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Mapping, Sequence

    from service.clock import Clock
    from service.landing.layout import CommitName
    from service.landing.ledger import Landed, Ledger
    from service.runs.store import RunStore

_log = structlog.get_logger(__name__)
DAYS_MAX: Final = 366
# The landing is listed at most so often, however many people look.
_LOOK_EVERY_S: Final = 1.0
# While it is away, nobody else shall wait for it so soon.
_LOOK_AGAIN_S: Final = 10.0
_LOOK_TIMEOUT_S: Final = 20.0
# A run may begin before its day does: a date ahead of time.
_SLACK: Final = dt.timedelta(days=2)
_IDS_AT_ONCE_MAX: Final = 500


class Datasets:
    """The days of all datasets. The landing has the last word; while it is away, what was seen of it before counts."""

    def __init__(self, store: RunStore | None, ledger: Ledger, configured: Mapping[str, Kind], clock: Clock) -> None:
        self.configured = configured
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._looking = asyncio.Lock()
        self._looked_s: float | None = None
        self._names: Sequence[CommitName] = []
        # When the landing was last seen, and what was wrong at the last look.
        self.landing_seen_at: str | None = None
        self.landing_error: DxrIngestError | None = None
        # When the newest complete run of a dataset began; None: nothing of it is complete.
        self.fresh_since: dict[str, str | None] = {}

    async def of_days(self, days: int) -> list[DatasetDays]:
        """Every dataset that is configured or has runs, by name, with its last `days` days up to today.

        Raises `StoreError`; and what the landing raises, unless it was seen before.
        """
        now = self._clock.now()
        since = now - dt.timedelta(days=days - 1)
        told, first_days = await self._told_by_store(since.date().isoformat())
        spoken_for = {fact.run_id for fact in told if fact.landed_at and fact.receipt}
        landed = await self._told_by_landing(spoken_for, microseconds(since - _SLACK))
        for name in self._names:
            date = from_microseconds(name.sequence).date().isoformat()
            first_days[name.dataset] = min(date, first_days.get(name.dataset, date))
        facts: defaultdict[str, dict[str, Fact]] = defaultdict(dict)
        for fact in [*told, *map(_of_commit, landed)]:  # the landing last: it is the truth
            facts[fact.dataset][fact.run_id] = fact
        kinds = {name: next(iter(known.values())).kind for name, known in facts.items()} | dict(self.configured)
        found = [
            dataset_days(
                Dataset(name, kind, name in self.configured, first_days.get(name)), facts[name].values(), days, now
            )
            for name, kind in sorted(kinds.items())
        ]
        for one in found:
            complete = one.last_complete and one.last_complete.fact
            if one.configured:
                self.fresh_since[one.dataset] = complete and complete.began_at
        return found

    async def _told_by_landing(self, spoken_for: Collection[str], oldest: int) -> Sequence[Landed]:
        """Commits on which the store does not know the verdict: without it, of another store, of runs that it lost."""
        seen = await self._look()
        names = [name for name in self._names if name.sequence >= oldest and name.run_id not in spoken_for]
        names = await self._not_judged_in_store(names)
        if seen:
            try:
                async with _in_time():
                    await self._ledger.learn(names)
            except DxrIngestError as error:
                self._away(error)
        return self._ledger.known(names)

    async def _look(self) -> bool:
        """List the commits, unless that was done just now; False while the landing is away."""
        async with self._looking:
            pause_s = _LOOK_AGAIN_S if self.landing_error else _LOOK_EVERY_S
            if self._looked_s is None or self._clock.monotonic_s() - self._looked_s >= pause_s:
                try:
                    async with _in_time():
                        self._names = await self._ledger.names()
                    self.landing_seen_at, self.landing_error = self._clock.now_text(), None
                except DxrIngestError as error:
                    self._away(error)
                # The end counts: whoever waited for this look has no need of another one.
                self._looked_s = self._clock.monotonic_s()
            if self.landing_error and self.landing_seen_at is None:
                raise self.landing_error
            return self.landing_error is None

    def _away(self, error: DxrIngestError) -> None:
        _log.warning("landing_not_asked", code=error.code)
        self.landing_error = error

    async def _told_by_store(self, since: str) -> tuple[list[Fact], dict[str, str]]:
        """The runs that can matter, and the day of each dataset's first one, in one statement.

        Of each day the newest run of a kind of end; and of each dataset, however old, the newest that is in its table.
        """
        if self._store is None:
            return [], {}
        ends = (runs.c.state, runs.c.receipt.is_(None), runs.c.record_cap.is_(None))
        newest_first = (runs.c.sequence.desc(), runs.c.id.desc())
        rank = sa.func.row_number()
        ranked = sa.select(
            runs,
            rank.over(partition_by=(runs.c.dataset, runs.c.ingestion_date, *ends), order_by=newest_first).label(
                "of_day"
            ),
            rank.over(
                partition_by=(runs.c.dataset, *ends), order_by=(runs.c.ingestion_date.desc(), *newest_first)
            ).label("of_dataset"),
            sa.func.min(runs.c.created_at).over(partition_by=runs.c.dataset).label("first_at"),
        ).subquery()
        query = sa.select(ranked).where(
            ((ranked.c.of_day == 1) & (ranked.c.ingestion_date >= since)) | (ranked.c.of_dataset == 1)
        )
        rows = await _rows(self._store, query)
        return [_of_row(row) for row in rows], {row["dataset"]: row["first_at"][: len("YYYY-MM-DD")] for row in rows}

    async def _not_judged_in_store(self, names: Sequence[CommitName]) -> list[CommitName]:
        """Without those of whose receipts the store knows: newer ones of their day speak for them."""
        if self._store is None:
            return list(names)
        ids = [name.run_id for name in names if not self._ledger.knows(name)]
        judged = set[str]()
        for start in range(0, len(ids), _IDS_AT_ONCE_MAX):
            some = runs.c.id.in_(ids[start : start + _IDS_AT_ONCE_MAX])
            query = sa.select(runs.c.id).where(some, runs.c.commit_path.is_not(None), runs.c.receipt.is_not(None))
            judged |= {row["id"] for row in await _rows(self._store, query)}
        return [name for name in names if name.run_id not in judged]


@contextlib.asynccontextmanager
async def _in_time() -> AsyncGenerator[None]:
    try:
        async with asyncio.timeout(_LOOK_TIMEOUT_S):
            yield
    except TimeoutError as error:
        raise LandingError(
            "LANDING_UNAVAILABLE",
            f"The landing did not answer within {_LOOK_TIMEOUT_S:g} seconds.",
            "Look at LANDING_PATH: the file system, or the workspace behind it.",
        ) from error


@whole
async def _rows(store: RunStore, query: sa.Select[Any]) -> Sequence[sa.RowMapping]:
    async with store.database.statement() as connection:
        return (await connection.execute(query)).mappings().all()


def _of_row(row: sa.RowMapping) -> Fact:
    receipt: dict[str, Any] = row["receipt"] or {}
    error: dict[str, Any] = row["error"] or {}
    kind = Kind(row["kind"])
    return Fact(
        dataset=row["dataset"],
        kind=kind,
        date=row["ingestion_date"],
        run_id=row["id"],
        sequence=row["sequence"],
        began_at=as_text(from_microseconds(row["sequence"])) if row["sequence"] else row["created_at"],
        state=State(row["state"]),
        capped=row["record_cap"] is not None,
        landed_at=row["ended_at"] if row["commit_path"] else None,
        receipt=receipt.get("state"),
        ingested_at=receipt.get("ingested_at"),
        table_rows=receipt.get("table_rows"),
        quarantined_rows=receipt.get("quarantined_rows"),
        error_code=error.get("code"),
        **(_figures(kind, row["counts"]) if row["commit_path"] else {}),
    )


def _of_commit(landed: Landed) -> Fact:
    commit, receipt = landed.commit, landed.receipt
    began_at = as_text(from_microseconds(commit.sequence))
    refused = receipt is not None and receipt.state == "refused"
    kind = Kind.CLASSIFICATION if commit.kind == Kind.CLASSIFICATION else Kind.SNAPSHOT
    return Fact(
        dataset=commit.dataset,
        kind=kind,
        date=commit.ingestion_date or began_at[: len("YYYY-MM-DD")],
        run_id=commit.run_id,
        sequence=commit.sequence,
        began_at=began_at,
        state=State.FAILED if refused else state_of(commit),
        capped=commit.record_cap is not None,
        landed_at=commit.completed_at or began_at,
        receipt=receipt and receipt.state,
        ingested_at=receipt and receipt.ingested_at,
        table_rows=receipt and receipt.table_rows,
        quarantined_rows=receipt and receipt.quarantined_rows,
        error_code="INGEST_REFUSED" if refused else None,
        **_figures(kind, {**commit.counts, "rows": commit.rows, "rejected_rows": commit.rejected_rows}),
    )


def _figures(kind: Kind, counts: Mapping[str, Any]) -> dict[str, Any]:
    """A classification is served files and lands a record for each that is not unchanged, and for each that is gone."""
    if kind is Kind.SNAPSHOT:
        return {name: counts.get(name) for name in ("served_lines", "rows", "rejected_rows")}
    without = sum(counts.get("reasons", {}).values())
    records = counts.get("labelled", 0) + without + counts.get("deleted", 0)
    return {
        "served_lines": counts.get("scanned"),
        "rows": counts.get("rows", records),
        "rejected_rows": 0,
        "files_without_labels": without,
    }
