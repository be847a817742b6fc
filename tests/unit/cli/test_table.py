"""A table of runs fits its terminal, and an id is never cut."""

from __future__ import annotations

from typing import Any

import pytest

from service.cli.table import lines_of

ID = "01a202f8-192e-72ad-935a-56a1fba81e3a"


def run(**more: Any) -> dict[str, Any]:
    base = {
        "id": ID,
        "dataset": "file_metadata",
        "ingestion_date": "2026-11-22",
        "state": "ingested",
        "counts": {"rows": 63147},
        "progress": {},
        "created_at": "2026-11-22T02:00:00.123456Z",
        "error": None,
    }
    return base | more


RUNS = [run(), run(state="failed", counts={}, progress={"rows": 5}, error={"code": "DXR_UNAVAILABLE"})]


def test_without_a_terminal_all_is_shown() -> None:
    heading, first, second = lines_of(RUNS, None)
    assert heading.split() == ["id", "date", "dataset", "state", "rows", "created", "error"]
    assert first.split() == [ID, "2026-11-22", "file_metadata", "ingested", "63,147", "2026-11-22T02:00:00"]
    assert second.split()[-1] == "DXR_UNAVAILABLE"
    assert second.split()[4] == "5"


@pytest.mark.parametrize("available", [20, 36, 60, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_every_id_is_whole(available: int) -> None:
    for line in lines_of(RUNS, available)[1:]:
        assert line.startswith(ID)
        assert len(line) <= max(available, len(ID))


@pytest.mark.parametrize(
    ("available", "shown"),
    [
        (36, ["id"]),
        (50, ["id", "state"]),
        (80, ["id", "date", "dataset", "state"]),
        (100, ["id", "date", "dataset", "state", "rows", "error"]),
        (130, ["id", "date", "dataset", "state", "rows", "created", "error"]),
    ],
)
def test_the_least_important_goes_first(available: int, shown: list[str]) -> None:
    assert lines_of(RUNS, available)[0].split() == shown
