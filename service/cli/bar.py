"""A line of progress on stderr while a task runs, when stderr is a terminal."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Final, Protocol

_FRAME_S: Final = 0.2


class Told(Protocol):
    """Progress that can say itself in a line."""

    def headline(self) -> str:
        """One line for people."""
        ...


async def shown(task: asyncio.Task[Any], progress: Told) -> None:
    """Wait for `task` and draw what `progress` says; raises what the task raised."""
    if sys.stderr.isatty():
        await _drawn(task, progress)
    await task


async def _drawn(task: asyncio.Task[Any], progress: Told) -> None:
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        line = bar.add_task("starting", total=None)
        while not task.done():
            await asyncio.wait([task], timeout=_FRAME_S)
            bar.update(line, description=progress.headline())
