"""What `status` says and how it ends, decided on what the service answers."""

from __future__ import annotations

from typing import Any

import pytest

from service.cli.strip import LEGEND, SYMBOLS, age, dates_judged, judged, lacking, strip, verdict
from service.runs.completeness import DayState


def day(date: str, state: str, reason: str | None = None) -> dict[str, Any]:
    return {"date": date, "state": state, "reason": reason, "run_id": "run-1"}


def dataset(name: str, *states: str, configured: bool = True, first_day: str | None = "2026-01-01") -> dict[str, Any]:
    days = [day(f"2026-11-{22 - back}", state) for back, state in enumerate(reversed(states))]
    return {"dataset": name, "configured": configured, "first_day": first_day, "days": days[::-1]}


def test_every_state_has_a_symbol_of_its_own_and_all_but_nothing_is_in_the_legend() -> None:
    assert set(SYMBOLS) == set(DayState)
    assert len(set(SYMBOLS.values())) == len(SYMBOLS)
    for state, symbol in SYMBOLS.items():
        assert state is DayState.NONE or f"{symbol} {state.value}" in LEGEND


def test_a_strip_reads_from_the_oldest_day_to_today() -> None:
    assert strip(dataset("d", "none", "missing", "failed", "partial", "complete", "running")["days"]) == " ·✗◧■▶"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "never"), (5, "5 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (200_000, "2 d")],
)
def test_an_age(seconds: int | None, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("days", "date", "dates"),
    [
        (None, None, {"2026-11-21"}),
        (2, None, {"2026-11-20", "2026-11-21"}),
        (None, "2026-11-22", {"2026-11-22"}),
        (2, "2026-11-19", {"2026-11-19"}),
    ],
)
def test_which_days_are_judged(days: int | None, date: str | None, dates: set[str]) -> None:
    shown = [dataset("d", "complete", "complete", "complete", "none")]
    assert dates_judged(shown, days, date) == dates
    assert dates_judged([], None, None) == set()


@pytest.mark.parametrize(
    ("state", "lacks"),
    [("complete", 0), ("none", 0), ("partial", 1), ("failed", 1), ("missing", 1), ("running", 1)],
)
def test_a_day_that_is_not_complete_lacks(state: str, lacks: int) -> None:
    lines = list(lacking([dataset("d", state, "none")], {"2026-11-21"}))
    assert len(lines) == lacks
    assert verdict(lines) == (6 if lacks else 0)


def test_what_is_lacking_is_named_with_its_reason() -> None:
    one = dataset("d", "none")
    one["days"] = [day("2026-11-21", "failed", "DXR_UNAVAILABLE")]
    assert list(lacking([one], {"2026-11-21"})) == ["d 2026-11-21: failed (DXR_UNAVAILABLE, run run-1)"]


def test_a_dataset_that_nobody_has_ever_run_is_not_complete() -> None:
    assert list(lacking([dataset("d", "none", "none", first_day=None)], {"2026-11-21"})) == ["d: no run yet"]


def test_datasets_that_nobody_expects_are_judged_only_by_name() -> None:
    shown = [dataset("d", "none"), dataset("trial", "failed", configured=False)]
    assert [one["dataset"] for one in judged(shown, None)] == ["d"]
    assert [one["dataset"] for one in judged(shown, "trial")] == ["trial"]
