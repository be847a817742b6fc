"""`make bench [PARTS="landing streams"]`: runs the parts by name; `.bench/results.json` keeps the last results of each.

`python -m bench --write-docs` (`make performance`) makes the figures and the chart of `docs/performance.md` from them.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import sys
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from bench import api, classification, landing, results, startup, streams, tables, uploads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PARTS: Final[dict[str, Callable[[Console], Awaitable[dict[str, Any]]]]] = {
    "landing": landing.measure,
    "streams": streams.measure,
    "uploads": uploads.measure,
    "classification": classification.measure,
    "api": api.measure,
    "tables": tables.measure,
    "startup": startup.measure,
}


async def main(names: list[str]) -> int:
    """Each part, and whether all claims of those that ran hold."""
    say = Console(width=None if sys.stdout.isatty() else 150)
    if unknown := [name for name in names if name not in PARTS]:
        say.print(f"there is no part {unknown[0]}; there are: {', '.join(PARTS)}")
        return 2
    machine = results.machine()
    say.print(f"machine: {machine}, load {results.load()}", highlight=False)
    passed = True
    for name in names or list(PARTS):
        say.rule(name)
        before = {"at": f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M}", "load_before": results.load()}
        result = await PARTS[name](say)
        found = {**before, "load_after": results.load(), **result}
        results.save({**results.saved(), "machine": machine, name: found})
        passed = passed and bool(result["passed"])
    say.print(f"written to {results.RESULTS}; {'passed' if passed else 'NOT passed'}")
    return 0 if passed else 1


if __name__ == "__main__":
    if sys.argv[1:] == ["--write-docs"]:
        from bench import page

        page.write()
    else:
        sys.exit(asyncio.run(main(sys.argv[1:])))
