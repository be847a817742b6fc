"""The days of datasets as text: a strip of symbols, and what is to be known beside it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from service.errors import exit_code
from service.runs.completeness import DayState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

# Told apart without colours too.
SYMBOLS: Final = {
    DayState.COMPLETE: "■",
    DayState.PARTIAL: "◧",
    DayState.FAILED: "✗",
    DayState.MISSING: "·",
    DayState.RUNNING: "▶",
    DayState.NONE: " ",
}
LEGEND: Final = (
    f"{SYMBOLS[DayState.COMPLETE]} complete  {SYMBOLS[DayState.PARTIAL]} partial  {SYMBOLS[DayState.FAILED]} failed  "
    f"{SYMBOLS[DayState.MISSING]} missing  {SYMBOLS[DayState.RUNNING]} running; the last one is today (UTC)"
)
_FINE: Final = frozenset({DayState.COMPLETE, DayState.NONE})
_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "min"))


def strip(days: Sequence[dict[str, Any]]) -> str:
    """One symbol a day."""
    return "".join(SYMBOLS[DayState(day["state"])] for day in days)


def age(seconds: int | None) -> str:
    """How old, in the largest unit of which there are two."""
    if seconds is None:
        return "never"
    for unit_s, name in _UNITS:
        if seconds >= 2 * unit_s:
            return f"{seconds // unit_s} {name}"
    return f"{seconds} s"


def lacking(datasets: Sequence[dict[str, Any]], dates: Collection[str]) -> Iterator[str]:
    """A line for each of these days that is not complete, and for each dataset that nobody has ever run."""
    for one in datasets:
        name = one["dataset"]
        if one["first_day"] is None:
            yield f"{name}: no run yet"
            continue
        for day in one["days"]:
            if day["date"] in dates and DayState(day["state"]) not in _FINE:
                why = f" ({day['reason']}, run {day['run_id']})" if day["reason"] else ""
                yield f"{name} {day['date']}: {day['state']}{why}"


def dates_judged(datasets: Sequence[dict[str, Any]], days: int | None, date: str | None) -> set[str]:
    """The day that was named, else so many up to yesterday; else yesterday."""
    if date:
        return {date}
    shown = [day["date"] for one in datasets[:1] for day in one["days"]]
    return set(shown[-1 - (days or 1) : -1])


def judged(datasets: Sequence[dict[str, Any]], dataset: str | None) -> list[dict[str, Any]]:
    """Those that decide the exit code: the one that was named, else all that are expected every day."""
    return [one for one in datasets if one["dataset"] == dataset or (dataset is None and one["configured"])]


def verdict(lines: Sequence[str]) -> int:
    """0: all is complete; 6: something is not."""
    return exit_code("INCOMPLETE") if lines else 0
