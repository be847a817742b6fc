"""Progress on stderr while a run goes on: a line that is drawn anew on a terminal, else plain lines now and then."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

_FRAME_S: Final = 0.2
_PLAIN_LINE_EVERY_S: Final = 10.0


class Told(Protocol):
    """Progress that can say itself."""

    def as_dict(self) -> Mapping[str, Any]:
        """As in the run's `progress`."""
        ...


class Pace:
    """How fast bytes come, over about the last ten seconds."""

    _SPAN_S: Final = 10.0

    def __init__(self) -> None:
        self._marks: list[tuple[float, int]] = []

    def bytes_per_s(self, at_s: float, total_bytes: int) -> float | None:
        """The speed by now; None when that cannot be said yet. A total that falls begins anew: a new attempt."""
        if self._marks and total_bytes < self._marks[-1][1]:
            self._marks.clear()
        self._marks.append((at_s, total_bytes))
        while len(self._marks) > 2 and at_s - self._marks[1][0] >= self._SPAN_S:
            del self._marks[0]
        began_s, began_bytes = self._marks[0]
        return (total_bytes - began_bytes) / (at_s - began_s) if at_s > began_s else None


def headline(progress: Mapping[str, Any], bytes_per_s: float | None = None) -> str:
    """One line for people. DXR tells no total: the snapshot before is the measure, and that is said."""
    if "scanned" in progress:
        return _of_classification(progress)
    if "rows" not in progress:
        return "starting"
    rows, before = progress["rows"], progress.get("rows_before")
    estimate = f" (≈ {rows / before:.0%} of the snapshot before)" if before else ""
    figures = [f"{rows:,} rows{estimate}", f"{progress['raw_bytes'] / 1e6:,.0f} MB"]
    if bytes_per_s is not None:
        figures.append(f"{bytes_per_s / 1e6:,.1f} MB/s")
    figures.append(f"{progress['chunks']:,} {'part' if progress['chunks'] == 1 else 'parts'}")
    if progress["rejected_rows"]:
        figures.append(f"{progress['rejected_rows']:,} rejected")
    return ", ".join(figures)


def _of_classification(progress: Mapping[str, Any]) -> str:
    figures = [f"{progress[name]:,} {name}" for name in ("scanned", "unchanged", "labelled")]
    if without := sum(progress["reasons"].values()):
        figures.append(f"{without:,} without labels")
    lanes = [what for what in progress["lanes"].values() if what != "idle"]
    if lanes:
        figures.append(f"{len(lanes)} of {len(progress['lanes'])} datasources at work ({lanes[0]})")
    return ", ".join(figures)


class Telling:
    """Says what progress is made, on a terminal as a bar. Use it as a context."""

    def __init__(self, *, terminal: bool | None = None) -> None:
        self._terminal = sys.stderr.isatty() if terminal is None else terminal
        self._pace = Pace()
        self._bar: Any = None
        self._said: Mapping[str, Any] = {}
        self._said_s: float = 0.0

    def __enter__(self) -> Self:
        self._said_s = asyncio.get_running_loop().time()
        if self._terminal:
            self._bar = _bar()
            self._bar.start()
            self._line = self._bar.add_task("starting", total=None)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, line: str) -> None:
        """A line that stays."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)  # noqa: T201 - this is the command line's progress

    def tell(self, progress: Mapping[str, Any]) -> None:
        """Show it: at once on a terminal, else as a line if there was none for some time and it says something new."""
        now_s = asyncio.get_running_loop().time()
        line = headline(progress, self._pace.bytes_per_s(now_s, progress.get("raw_bytes", 0)))
        if self._bar is not None:
            before = progress.get("rows_before")
            self._bar.update(self._line, description=line, completed=progress.get("rows", 0), total=before or None)
        elif now_s - self._said_s >= _PLAIN_LINE_EVERY_S and progress != self._said:
            self._said, self._said_s = progress, now_s
            self.say(line)


async def shown(task: asyncio.Task[Any], progress: Told) -> None:
    """Wait for `task` and show what `progress` says; raises what the task raised."""
    with Telling() as telling:
        while not task.done():
            telling.tell(progress.as_dict())
            await asyncio.wait([task], timeout=_FRAME_S)
    await task


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    # The total is an estimate: the bar may stand still at its end, the words say what is known.
    columns = (SpinnerColumn(), BarColumn(bar_width=10), TextColumn("{task.description}"), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
