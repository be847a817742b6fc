"""Was yesterday complete? Decided on values."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from service.runs.completeness import Dataset, DatasetDays, DayState, Fact, dataset_days
from service.runs.model import Kind, State

NOW = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
TODAY, YESTERDAY, BEFORE = "2026-11-22", "2026-11-21", "2026-11-20"
EARLY, RECENT = "2026-11-21T02:00:00Z", "2026-11-22T11:00:00Z"
LANDED = {"state": State.LANDED, "landed_at": EARLY, "rows": 9, "rejected_rows": 1, "served_lines": 10}
INGESTED = LANDED | {"state": State.INGESTED, "receipt": "ingested", "table_rows": 9, "quarantined_rows": 1}
REFUSED = LANDED | {"state": State.FAILED, "receipt": "refused", "table_rows": 0, "quarantined_rows": 0}
FAILED = {"state": State.FAILED, "error_code": "DXR_UNAVAILABLE"}


def fact(number: int = 1, date: str = YESTERDAY, kind: Kind = Kind.SNAPSHOT, **more: Any) -> Fact:
    base = {"began_at": f"{date}T02:00:00Z", "sequence": number, "state": State.RUNNING}
    return Fact(dataset="d", kind=kind, date=date, run_id=f"run-{number}", **(base | more))


def days(*facts: Fact, configured: bool = True, first_day: str | None = None, count: int = 3) -> DatasetDays:
    return dataset_days(Dataset("d", Kind.SNAPSHOT, configured, first_day), facts, count, NOW)


def files_of(**more: Any) -> Fact:
    return fact(kind=Kind.CLASSIFICATION, **(INGESTED | more))


@pytest.mark.parametrize(
    ("facts", "state", "reason", "run_id"),
    [
        ([fact(**INGESTED)], "complete", None, "run-1"),
        ([fact(1, **INGESTED), fact(2, **INGESTED)], "complete", None, "run-2"),
        ([fact(2, **INGESTED), fact(1, **INGESTED)], "complete", None, "run-2"),
        ([fact(1, **INGESTED), fact(2, **LANDED)], "complete", None, "run-1"),  # what the table shows
        ([fact(1, **INGESTED), fact(2)], "complete", None, "run-1"),
        ([fact(1, **INGESTED), fact(2, **FAILED)], "complete", None, "run-1"),
        ([fact(1, **INGESTED), fact(2, **REFUSED)], "complete", None, "run-1"),
        ([fact(**(INGESTED | {"table_rows": 8}))], "partial", "UNBALANCED", "run-1"),
        ([fact(state=State.QUEUED)], "running", None, "run-1"),
        ([fact(1, **FAILED), fact(2)], "running", None, "run-2"),
        ([fact(**(LANDED | {"landed_at": RECENT}))], "running", "AWAITING_RECEIPT", "run-1"),
        ([fact(**LANDED)], "partial", "RECEIPT_OVERDUE", "run-1"),
        ([fact(1, **LANDED, capped=True), fact(2, **FAILED)], "partial", "CAPPED", "run-1"),
        ([fact(**INGESTED, capped=True)], "partial", "CAPPED", "run-1"),
        ([fact(1, **INGESTED), fact(2, **INGESTED, capped=True)], "complete", None, "run-1"),
        ([fact(**(LANDED | {"receipt": "superseded"}))], "partial", "SUPERSEDED", "run-1"),
        ([fact(**FAILED)], "failed", "DXR_UNAVAILABLE", "run-1"),
        ([fact(1, **FAILED), fact(2, state=State.CANCELLED)], "failed", "CANCELLED", "run-2"),
        ([fact(**REFUSED)], "failed", "INGEST_REFUSED", "run-1"),
        ([files_of()], "complete", None, "run-1"),
        ([files_of(table_rows=1)], "complete", None, "run-1"),  # its rows are records, its table's are files
        ([files_of(files_without_labels=2)], "partial", "FILES_WITHOUT_LABELS", "run-1"),
    ],
)
def test_a_day(facts: list[Fact], state: str, reason: str | None, run_id: str) -> None:
    shown = days(*facts).days[-2].as_dict()
    assert (shown["date"], shown["state"], shown["reason"], shown["run_id"]) == (YESTERDAY, state, reason, run_id)


def test_a_complete_day_has_all_its_figures() -> None:
    day = days(fact(**INGESTED, ingested_at=RECENT)).days[-2].as_dict()
    assert day == {
        "date": YESTERDAY,
        "state": "complete",
        "reason": None,
        "run_id": "run-1",
        "served_lines": 10,
        "rows": 9,
        "rejected_rows": 1,
        "table_rows": 9,
        "quarantined_rows": 1,
        "landed_at": EARLY,
        "ingested_at": RECENT,
    }


@pytest.mark.parametrize(
    ("configured", "first_day", "states"),
    [
        (True, "2026-10-01", ["missing", "missing", "none"]),
        (True, YESTERDAY, ["none", "missing", "none"]),
        (True, None, ["none", "none", "none"]),
        (False, "2026-10-01", ["none", "none", "none"]),
    ],
)
def test_a_day_without_a_run(configured: bool, first_day: str | None, states: list[str]) -> None:
    found = days(configured=configured, first_day=first_day)
    assert [day.state.value for day in found.days] == states
    assert [day.date for day in found.days] == [BEFORE, YESTERDAY, TODAY]
    assert found.missing_days == [
        day.date for day, state in zip(found.days, states, strict=True) if state == DayState.MISSING
    ]
    assert found.first_day == first_day


def test_days_are_missed_from_the_first_run_on_and_a_date_of_long_ago_is_no_first_run() -> None:
    backfilled = fact(date="2020-01-01", **(INGESTED | {"began_at": "2026-11-21T02:00:00Z"}))
    found = days(backfilled)
    assert [day.state.value for day in found.days] == ["none", "missing", "none"]
    assert found.first_day == YESTERDAY


def test_freshness_is_the_age_of_the_newest_complete_day() -> None:
    found = days(fact(1, date="2026-10-01", **INGESTED), fact(2, date=BEFORE, **INGESTED), fact(3, **LANDED), count=2)
    assert found.last_complete is not None
    assert found.last_complete.date == BEFORE
    assert found.freshness(NOW) == dt.timedelta(days=2, hours=10)
    shown = found.as_dict(NOW, RECENT)
    assert (shown["data_as_of"], shown["freshness_seconds"]) == (f"{BEFORE}T02:00:00Z", 58 * 3600)
    assert len(shown["days"]) == 2


def test_a_day_ahead_of_time_is_not_fresh() -> None:
    found = days(fact(date="2026-11-23", **INGESTED))
    assert found.last_complete is None
    assert found.freshness(NOW) is None
    assert found.as_dict(NOW, None)["freshness_seconds"] is None
