"""The command with its event loop or its threads watched: `python -m bench.watched loop|profile REPORT serve …`.

On SIGUSR1 it writes what it saw since the last time to REPORT, as JSON, and begins anew.
"""

from __future__ import annotations

import asyncio
import cProfile
import json
import os
import re
import signal
import statistics
import sys
import threading
import time
from asyncio import events
from collections import Counter
from concurrent.futures import thread
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from types import CodeType

_TICK_S: Final = 0.005
_SERVICE: Final = f"{os.sep}service{os.sep}"


class _Watch(Protocol):
    def begin(self, loop: asyncio.AbstractEventLoop) -> None: ...
    def report(self) -> dict[str, Any]: ...


class LoopWatch:
    """How late a ticker is, and the CPU time that each callback of the loop takes."""

    def __init__(self) -> None:
        self._late_s: list[float] = []
        self._callbacks_s: list[float] = []

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch this loop."""
        run, callbacks_s = events.Handle._run, self._callbacks_s  # noqa: SLF001 - where each callback is called

        def timed(handle: events.Handle) -> None:
            began_s = time.thread_time()
            run(handle)
            callbacks_s.append(time.thread_time() - began_s)

        def tick(due_s: float) -> None:
            self._late_s.append(max(0.0, loop.time() - due_s))
            loop.call_later(_TICK_S, tick, loop.time() + _TICK_S)

        events.Handle._run = timed  # type: ignore[method-assign]  # noqa: SLF001
        loop.call_soon(tick, loop.time())

    def report(self) -> dict[str, Any]:
        """What was seen since the last one."""
        report = {"late_ms": _percentiles_ms(self._late_s), "callback_cpu_ms": _percentiles_ms(self._callbacks_s)}
        self._late_s.clear()
        self._callbacks_s.clear()
        return report


class Profile:
    """The CPU time of the loop's thread and of what the worker threads are given, by function.

    A C function counts with the Python function that called it. Profiling makes many small calls look dearer than they
    are; what is spent in one long call is told as it is.
    """

    def __init__(self) -> None:
        self._own = threading.local()
        self._profiles: list[cProfile.Profile] = []

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Profile this thread, and each job of an executor."""
        del loop
        run = thread._WorkItem.run  # noqa: SLF001 - where each job is called

        def profiled(item: Any) -> None:
            profile = self._of_this_thread()
            profile.enable()
            try:
                run(item)
            finally:
                profile.disable()

        thread._WorkItem.run = profiled  # type: ignore[method-assign]  # noqa: SLF001
        self._of_this_thread().enable()

    def report(self) -> dict[str, Any]:
        """What was seen since the last one."""
        spent_s = Counter[str]()
        for profile in self._profiles:
            for entry in profile.getstats():  # type: ignore[attr-defined] - it has no stub
                if not isinstance(entry.code, str):
                    place = _place(entry.code)
                    spent_s[place] += entry.inlinetime
                    for called in entry.calls or ():
                        if isinstance(called.code, str):
                            spent_s[f"{place} > {_builtin(called.code)}"] += called.inlinetime
            profile.clear()
        return {"cpu_s": {place: round(spent, 3) for place, spent in spent_s.most_common() if spent >= 0.001}}

    def _of_this_thread(self) -> cProfile.Profile:
        if not hasattr(self._own, "profile"):
            self._own.profile = cProfile.Profile(time.thread_time)
            self._profiles.append(self._own.profile)
        return self._own.profile


def _place(code: CodeType) -> str:
    """`snapshot/rows:RowSorter.feed` for the service, else the package."""
    _, found, path = code.co_filename.rpartition(_SERVICE)
    if found and "site-packages" not in code.co_filename:
        return f"{path.removesuffix('.py')}:{code.co_qualname}"
    path = Path(code.co_filename.rpartition(f"site-packages{os.sep}")[2])
    inside = path.parts[0] if not path.is_absolute() else path.parent.name
    return f"{path.stem if inside.startswith('python') else inside}:{code.co_qualname}"


def _builtin(name: str) -> str:
    """`recv` for `<method 'recv' of '_socket.socket' objects>`."""
    found = re.search(r"'([^']+)'|built-in method (?:.*\.)?([^ .>]+)>", name)
    return (found[1] or found[2]) if found else name


def _percentiles_ms(values_s: list[float]) -> dict[str, float]:
    if len(values_s) < 2:
        return {}
    cuts = statistics.quantiles(values_s, n=100)
    return {"n": len(values_s), "p50": 1000 * cuts[49], "p99": 1000 * cuts[98], "max": 1000 * max(values_s)}


def main() -> None:
    """Run the command in this process."""
    kind, report, *arguments = sys.argv[1:]
    watch: _Watch = LoopWatch() if kind == "loop" else Profile()

    class Policy(asyncio.DefaultEventLoopPolicy):
        def new_event_loop(self) -> asyncio.AbstractEventLoop:
            loop = super().new_event_loop()

            def write() -> None:
                temporary = Path(f"{report}.tmp")
                temporary.write_text(json.dumps(watch.report()))
                temporary.rename(report)

            loop.call_soon(watch.begin, loop)
            loop.add_signal_handler(signal.SIGUSR1, write)
            return loop

    asyncio.set_event_loop_policy(Policy())
    sys.argv = ["dxr-ingest", *arguments]
    from service.__main__ import main as run

    run()


if __name__ == "__main__":
    main()
