"""Runs as a table that fits: ids whole, so that they can be copied, and what else there is room for."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_GAP: Final = "  "


def _rows(run: dict[str, Any]) -> str:
    rows = run["counts"].get("rows", run["progress"].get("rows"))
    return "" if rows is None else f"{rows:,}"


# In the order in which they are shown, with their importance: the least important ones go first.
_COLUMNS: Final[dict[str, tuple[int, Callable[[dict[str, Any]], str]]]] = {
    "id": (0, lambda run: run["id"]),
    "date": (3, lambda run: run["ingestion_date"]),
    "dataset": (2, lambda run: run["dataset"]),
    "state": (1, lambda run: run["state"]),
    "rows": (4, _rows),
    "created": (6, lambda run: run["created_at"][:19]),
    "error": (5, lambda run: run["error"]["code"] if run["error"] else ""),
}


def width() -> int | None:
    """Of the terminal; None when there is none: then nothing has to go."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def lines_of(runs: Sequence[dict[str, Any]], available: int | None) -> list[str]:
    """The heading and a line for each run, with the columns that fit; `runs show` tells the rest."""
    cells = {name: [name, *map(show, runs)] for name, (_, show) in _COLUMNS.items()}
    widths = {name: max(map(len, column)) for name, column in cells.items()}
    shown, used = {"id"}, widths["id"]
    for name in sorted(_COLUMNS, key=lambda name: _COLUMNS[name][0])[1:]:
        used += len(_GAP) + widths[name]
        if available is not None and used > available:
            break
        shown.add(name)
    kept = [name for name in _COLUMNS if name in shown]
    return [
        _GAP.join(
            cells[name][row].rjust(widths[name]) if name == "rows" else cells[name][row].ljust(widths[name])
            for name in kept
        ).rstrip()
        for row in range(len(runs) + 1)
    ]
