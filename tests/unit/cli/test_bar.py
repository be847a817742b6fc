"""What is said of a run that goes on: figures, speed, and an estimate that says that it is one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from service.classification.progress import Progress as ClassificationProgress
from service.cli import bar
from service.cli.bar import Pace, Telling, headline, shown
from service.snapshot.progress import Progress as SnapshotProgress

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_snapshot_with_nothing_before_it_has_no_share() -> None:
    told = SnapshotProgress(rows=1234, raw_bytes=56_000_000, chunks=1).as_dict()
    assert headline(told) == "1,234 rows, 56 MB, 1 part"


def test_the_snapshot_before_is_the_measure_and_that_is_said() -> None:
    told = SnapshotProgress(rows=40, rejected_rows=2, raw_bytes=5_000_000, chunks=3, rows_before=100).as_dict()
    line = headline(told, 2_500_000.0)
    assert line == "40 rows (≈ 40% of the snapshot before), 5 MB, 2.5 MB/s, 3 parts, 2 rejected"


def test_a_classification_says_what_its_datasources_do() -> None:
    progress = ClassificationProgress(
        scanned=9, unchanged=2, labelled=3, lanes={"11": "sending 25 files", "12": "idle"}
    )
    progress.reasons["TOO_LARGE"] = 1
    line = headline(progress.as_dict())
    assert line == (
        "9 scanned, 2 unchanged, 3 labelled, 1 without labels, 1 of 2 datasources at work (sending 25 files)"
    )


def test_before_the_first_figures_it_starts() -> None:
    assert headline({}) == "starting"


@pytest.mark.parametrize(
    ("marks", "speed"),
    [
        ([(0.0, 0)], None),
        ([(0.0, 0), (2.0, 10)], 5.0),
        ([(0.0, 0), (5.0, 0), (10.0, 100), (20.0, 300)], 20.0),  # of the last ten seconds
        ([(0.0, 500), (1.0, 0)], None),  # a new attempt
        ([(0.0, 500), (1.0, 0), (2.0, 7)], 7.0),
        ([(0.0, 0), (0.0, 5)], None),
    ],
)
def test_the_speed(marks: list[tuple[float, int]], speed: float | None) -> None:
    pace = Pace()
    assert [pace.bytes_per_s(at_s, total) for at_s, total in marks][-1] == speed


def test_the_speed_is_kept_in_little_memory() -> None:
    pace = Pace()
    for tick in range(10_000):
        pace.bytes_per_s(tick / 5, tick)
    assert len(pace._marks) <= 52


async def test_without_a_terminal_there_are_plain_lines_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = SnapshotProgress(rows=1)
    monkeypatch.setattr(bar, "_PLAIN_LINE_EVERY_S", 0.0)
    with Telling(terminal=False) as telling:
        telling.tell(progress.as_dict())
        telling.tell(progress.as_dict())  # nothing new
        progress.rows = 2
        monkeypatch.setattr(bar, "_PLAIN_LINE_EVERY_S", 3600.0)
        telling.tell(progress.as_dict())  # not yet
        telling.say("landed")
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == ["1 rows", "landed"]


async def test_on_a_terminal_the_line_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    with Telling(terminal=True) as telling:
        telling.tell(SnapshotProgress(rows=40, rows_before=100).as_dict())
        telling.say("running [attempt 2]")
    assert "running [attempt 2]" in capsys.readouterr().err


@pytest.mark.parametrize("outcome", [lambda: 1, lambda: 1 / 0])
async def test_it_ends_as_the_task_does(outcome: Callable[[], object]) -> None:
    async def work() -> object:
        await asyncio.sleep(0)
        return outcome()

    task = asyncio.create_task(work())
    try:
        await shown(task, SnapshotProgress())
    except ZeroDivisionError:
        assert task.exception()
    else:
        assert task.result() == 1
