"""Was a day complete? What runs, commits and receipts say about the days of a dataset. Pure."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from service.runs.model import ACTIVE, Kind, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# A receipt that is missing for longer means that something is wrong with the Spark job.
OVERDUE_AFTER: Final = dt.timedelta(hours=6)


class DayState(StrEnum):
    """What is known of one day of one dataset."""

    # Landed whole and in its table, and the figures balance.
    COMPLETE = "complete"
    # Something is there, but not all: `reason` says why.
    PARTIAL = "partial"
    # Every run of the day failed, was cancelled, or its commit was refused: `reason` is the error's code.
    FAILED = "failed"
    # The day is over and nobody tried.
    MISSING = "missing"
    # On its way: queued, streaming, or landed and not in its table yet.
    RUNNING = "running"
    # Nothing is there and nothing is missed: today, days before the first run, datasets that nobody configured.
    NONE = "none"


class Reason(StrEnum):
    """Why a day is partial, or what it waits for; a failed day has the code of the error."""

    AWAITING_RECEIPT = "AWAITING_RECEIPT"
    RECEIPT_OVERDUE = "RECEIPT_OVERDUE"
    CAPPED = "CAPPED"
    FILES_WITHOUT_LABELS = "FILES_WITHOUT_LABELS"
    SUPERSEDED = "SUPERSEDED"
    UNBALANCED = "UNBALANCED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One run, as the run store or the landing tells of it."""

    dataset: str
    kind: Kind
    date: str
    run_id: str
    sequence: int
    # ISO 8601 with a zone, like all times here: when its run, or the attempt that counts, began.
    began_at: str
    state: State
    capped: bool = False
    landed_at: str | None = None
    # The verdict of the Spark job: ingested, superseded, refused.
    receipt: str | None = None
    ingested_at: str | None = None
    served_lines: int | None = None
    rows: int | None = None
    rejected_rows: int | None = None
    table_rows: int | None = None
    quarantined_rows: int | None = None
    files_without_labels: int = 0
    error_code: str | None = None

    @property
    def landed(self) -> bool:
        """Whether its commit counts."""
        return self.landed_at is not None and self.receipt != "refused" and self.state is not State.FAILED


@dataclass(frozen=True, slots=True)
class Day:
    """One day; `fact` is the run behind the state."""

    date: str
    state: DayState
    reason: str | None = None
    fact: Fact | None = None

    def as_dict(self) -> dict[str, Any]:
        """For HTTP and `-o json`."""
        fact = self.fact
        return {
            "date": self.date,
            "state": self.state.value,
            "reason": self.reason,
            "run_id": fact and fact.run_id,
            "served_lines": fact and fact.served_lines,
            "rows": fact and fact.rows,
            "rejected_rows": fact and fact.rejected_rows,
            "table_rows": fact and fact.table_rows,
            "quarantined_rows": fact and fact.quarantined_rows,
            "landed_at": fact and fact.landed_at,
            "ingested_at": fact and fact.ingested_at,
        }


@dataclass(frozen=True, slots=True)
class DatasetDays:
    """The days of one dataset, the oldest first."""

    dataset: str
    kind: Kind
    configured: bool
    # The day of its first run; None: there was none.
    first_day: str | None
    # The newest complete day: what its table shows.
    last_complete: Day | None
    days: Sequence[Day]

    @property
    def missing_days(self) -> list[str]:
        """Those on which nobody tried."""
        return [day.date for day in self.days if day.state is DayState.MISSING]

    def freshness(self, now: dt.datetime) -> dt.timedelta | None:
        """The age of what its table shows: since the newest complete run began. None when nothing is complete."""
        fact = self.last_complete and self.last_complete.fact
        return None if not fact else max(dt.timedelta(0), now - dt.datetime.fromisoformat(fact.began_at))

    def as_dict(self, now: dt.datetime, landing_seen_at: str | None) -> dict[str, Any]:
        """For HTTP and `-o json`."""
        fact, age = self.last_complete and self.last_complete.fact, self.freshness(now)
        return {
            "dataset": self.dataset,
            "kind": self.kind.value,
            "configured": self.configured,
            "first_day": self.first_day,
            "data_as_of": fact and fact.began_at,
            "freshness_seconds": None if age is None else int(age.total_seconds()),
            "last_complete": self.last_complete and self.last_complete.as_dict(),
            "landing_seen_at": landing_seen_at,
            "missing_days": self.missing_days,
            "days": [day.as_dict() for day in self.days],
        }


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset by name; `configured`: somebody expects it every day. `first_day` is what older runs tell, if any."""

    name: str
    kind: Kind
    configured: bool
    first_day: str | None = None


def dataset_days(dataset: Dataset, facts: Iterable[Fact], days: int, now: dt.datetime) -> DatasetDays:
    """The last `days` days up to today, in UTC. `facts` may reach further back: for the newest complete day."""
    by_date: dict[str, list[Fact]] = {}
    for fact in facts:
        by_date.setdefault(fact.date, []).append(fact)
    begun = [fact.began_at[: len("YYYY-MM-DD")] for of_day in by_date.values() for fact in of_day]
    first_days = sorted([*begun, dataset.first_day] if dataset.first_day else begun)
    first_day = first_days[0] if first_days else None
    today = _date(now)
    known = {date: _day(date, of_day, now) for date, of_day in by_date.items()}
    shown = [_date(now - dt.timedelta(days=back)) for back in reversed(range(days))]
    expected_from = first_day if dataset.configured and first_day else today
    nothing = {date: DayState.MISSING if expected_from <= date < today else DayState.NONE for date in shown}
    complete = [day for date, day in sorted(known.items()) if day.state is DayState.COMPLETE and date <= today]
    return DatasetDays(
        dataset.name,
        dataset.kind,
        dataset.configured,
        first_day,
        complete[-1] if complete else None,
        [known.get(date) or Day(date, nothing[date]) for date in shown],
    )


def _day(date: str, facts: Sequence[Fact], now: dt.datetime) -> Day:
    """What is in the table decides; then what is on its way; then what was tried."""
    landed = sorted((fact for fact in facts if fact.landed), key=lambda fact: (fact.sequence, fact.run_id))
    whole = [fact for fact in landed if not fact.capped]
    if ingested := [fact for fact in whole if fact.receipt == "ingested"]:
        reason = _lacks(ingested[-1])
        return Day(date, DayState.PARTIAL if reason else DayState.COMPLETE, reason, ingested[-1])
    if active := [fact for fact in facts if fact.state in ACTIVE and not fact.landed]:
        return Day(date, DayState.RUNNING, None, active[-1])
    if awaited := [fact for fact in whole if fact.receipt is None]:
        late = now - dt.datetime.fromisoformat(awaited[-1].landed_at or awaited[-1].began_at) > OVERDUE_AFTER
        reason = Reason.RECEIPT_OVERDUE if late else Reason.AWAITING_RECEIPT
        return Day(date, DayState.PARTIAL if late else DayState.RUNNING, reason, awaited[-1])
    if landed:
        return Day(date, DayState.PARTIAL, Reason.CAPPED if landed[-1].capped else Reason.SUPERSEDED, landed[-1])
    last = max(facts, key=lambda fact: fact.run_id)
    code = "CANCELLED" if last.state is State.CANCELLED else last.error_code or "INGEST_REFUSED"
    return Day(date, DayState.FAILED, code, last)


def _lacks(fact: Fact) -> Reason | None:
    figures = (fact.rows, fact.table_rows)
    if fact.kind is Kind.SNAPSHOT and None not in figures:
        landed = (fact.rows or 0) + (fact.rejected_rows or 0)
        if landed != (fact.table_rows or 0) + (fact.quarantined_rows or 0):
            return Reason.UNBALANCED
    return Reason.FILES_WITHOUT_LABELS if fact.files_without_labels else None


def _date(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).date().isoformat()
