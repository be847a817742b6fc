"""A progress bar on stderr while a task runs, when stderr is a terminal."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from service.snapshot.progress import Progress

_FRAME_S: Final = 0.2


async def shown(task: asyncio.Task[Any], progress: Progress) -> None:
    """Wait for `task` and draw what `progress` says; raises what the task raised."""
    if sys.stderr.isatty():
        await _drawn(task, progress)
    await task


async def _drawn(task: asyncio.Task[Any], progress: Progress) -> None:
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn, TransferSpeedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TransferSpeedColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        # DXR tells no total: the bar shows what has come, never a share.
        line = bar.add_task("waiting for DXR", total=None)
        while not task.done():
            await asyncio.wait([task], timeout=_FRAME_S)
            told = f"{progress.rows:,} rows, {progress.rejected_rows:,} rejected, {progress.chunks} chunks"
            bar.update(line, completed=progress.raw_bytes, description=told)
