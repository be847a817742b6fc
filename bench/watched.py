"""The command with its event loop or its threads watched: `python -m bench.watched loop|profile REPORT serve …`.

On SIGUSR1 it writes what it saw since the last time to REPORT, as JSON, and begins anew.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import sys
import threading
import time
from asyncio import events
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from types import FrameType

_TICK_S: Final = 0.005
_SAMPLE_S: Final = 0.005
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
    """The CPU time of each thread, by the function of the service that it is in, and the package which that called."""

    def __init__(self) -> None:
        self._cpu_s: Counter[tuple[str, str]] = Counter()
        self._before_s: dict[int, float] = {}

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch all threads."""
        del loop
        threading.Thread(target=self._sample, daemon=True).start()

    def report(self) -> dict[str, Any]:
        """What was seen since the last one."""
        taken, self._cpu_s = self._cpu_s, Counter()
        return {"cpu_s": {f"{ours} > {called}": round(spent, 3) for (ours, called), spent in taken.most_common()}}

    def _sample(self) -> None:
        me = threading.get_ident()
        while True:
            time.sleep(_SAMPLE_S)
            frames = sys._current_frames()  # noqa: SLF001 - there is no other way to see other threads
            for thread in threading.enumerate():
                if thread.ident == me or thread.ident not in frames or thread.native_id is None:
                    continue
                now_s = _thread_cpu_s(thread.native_id)
                spent_s = now_s - self._before_s.get(thread.native_id, now_s)
                self._before_s[thread.native_id] = now_s
                if spent_s > 0:
                    self._cpu_s[_place(frames[thread.ident])] += spent_s


def _thread_cpu_s(native_id: int) -> float:
    try:
        return int(Path(f"/proc/self/task/{native_id}/schedstat").read_text().split()[0]) / 1e9
    except (OSError, IndexError):
        return 0.0


def _place(frame: FrameType) -> tuple[str, str]:
    """The innermost function of the service, and the package it called into; the loop itself is asyncio's."""
    called = _package(frame.f_code.co_filename)
    at: FrameType | None = frame
    while at is not None:
        _, found, path = at.f_code.co_filename.rpartition(_SERVICE)
        if found and "site-packages" not in at.f_code.co_filename and path not in {"__main__.py", "cli/main.py"}:
            inside = "itself" if at is frame else called
            return f"{path.removesuffix('.py')}:{at.f_code.co_qualname}", inside
        at = at.f_back
    return "the event loop", called


def _package(path: str) -> str:
    library = path.rpartition("site-packages" + os.sep)[2]
    return Path(library).parts[0] if library != path else Path(path).stem if "asyncio" not in path else "asyncio"


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
