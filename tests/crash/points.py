"""The moments at which something can befall a process, seen from outside: by the simulators and in the landing folder.

Every moment goes into one journal, in order. `at` waits for the first moment of a kind and does a deed to the process
whose moment it is. "begun" and "asked" are before what is asked for is done, "there", "taken" and "answered" after it
and before the process hears of it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.crash.deeds import Deed
    from tests.crash.replicas import Fleet, Replica

Point = Literal[
    "stream asked",
    "rows served",  # every few rows
    "stream ending",  # all rows are out, the end is not
    "stream ended",
    "part begun",
    "part there",
    "commit begun",
    "commit there",
    "submit begun",  # its headers have come
    "submit asked",  # its files have come
    "submit taken",
    "poll asked",
    "poll answered",
    "search asked",
    "search answered",
    "status asked",
    "status answered",
    "frozen",
    "thawed",
]
SNAPSHOT_POINTS: tuple[Point, ...] = ("stream asked", "rows served", "stream ending", "stream ended")
LANDING_POINTS: tuple[Point, ...] = ("part begun", "part there", "commit begun", "commit there")
CLASSIFICATION_POINTS: tuple[Point, ...] = (
    "submit begun",
    "submit asked",
    "submit taken",
    "poll asked",
    "poll answered",
    "search asked",
    "search answered",
)


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that one life of a replica did. `step` is its place in the journal."""

    step: int
    point: Point
    who: str
    dataset: str
    at_s: float
    facts: Mapping[str, Any]

    def __str__(self) -> str:
        facts = ", ".join(f"{name} {value}" for name, value in self.facts.items())
        return f"{self.step:6} {self.at_s:9.3f} {self.who:12} {self.dataset:14} {self.point} {facts}".rstrip()


@dataclass(frozen=True, slots=True)
class At:
    """The n-th such moment from now on."""

    point: Point
    nth: int = 1
    dataset: str | None = None

    def __str__(self) -> str:
        return f"{self.point} {self.nth}" if self.nth > 1 else self.point

    def meets(self, moment: Moment) -> bool:
        """Whether it counts."""
        return moment.point == self.point and self.dataset in {None, moment.dataset}


@dataclass(eq=False)
class Strike:
    """A deed that waits for its moment."""

    at: At
    deed: Deed
    seen: int = 0
    moment: Moment | None = None
    replica: Replica | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def __str__(self) -> str:
        return f"{self.deed} at {self.at}" + (f" (step {self.moment.step})" if self.moment else " (never came)")


@dataclass
class TakeOver:
    """A run that lost its process, until another one works on it."""

    dataset: str
    lost_by: str
    since_s: float
    seconds: float | None = None


class Moments:
    """The journal, and the deeds that wait for their moments."""

    def __init__(self, lease_s: float) -> None:
        self.lease_s = lease_s
        self.journal: list[Moment] = []
        self.complaints: list[str] = []
        self.take_overs: list[TakeOver] = []
        self.active: dict[str, str] = {}  # run ids by dataset, as the scenario says
        self.fleet: Fleet | None = None
        self.somebody_thawed = False
        self._began_s = time.monotonic()
        self._workers: dict[str, str] = {}
        self._waiting: list[Strike] = []
        self._following: set[asyncio.Task[None]] = set()
        self._lock = threading.RLock()  # the landing folder is watched by a thread
        self._loop = asyncio.get_running_loop()

    def at(self, at: At, deed: Deed) -> Strike:
        """Do this deed at that moment."""
        strike = Strike(at, deed)
        with self._lock:
            self._waiting.append(strike)
        return strike

    def now(self, replica: Replica, deed: Deed) -> None:
        """Do this deed now, wherever the process is."""
        self._begin(replica, deed)
        self._follow(replica, deed, None)

    def waits_for(self, points: tuple[Point, ...]) -> bool:
        """Whether a deed waits for one of these."""
        return any(strike.at.point in points for strike in self._waiting)

    def forget(self) -> None:
        """Drop the deeds whose moments did not come."""
        with self._lock:
            self._waiting.clear()

    async def quiet(self) -> None:
        """Wait until whatever was killed, frozen or terminated is back."""
        while self._following:
            await asyncio.wait(self._following)

    def ended(self, dataset: str) -> None:
        """The dataset's run is over: nobody takes it over any more."""
        with self._lock:
            self.active.pop(dataset, None)
            self.take_overs = [one for one in self.take_overs if one.seconds is not None or one.dataset != dataset]

    async def taken_over(self, who: str) -> None:
        """Wait until somebody else works on what this life worked on, or until nothing of it is active any more."""
        while any(one.lost_by == who and one.seconds is None for one in self.take_overs):  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    async def all_ended(self) -> None:
        """Wait until no run is active."""
        while self.active:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    def works(self, who: str) -> list[str]:
        """The datasets whose active runs this life was last seen to work on."""
        return [dataset for dataset in list(self.active) if self._workers.get(dataset) == who]

    def worker(self, dataset: str) -> str:
        """Who was last seen to work on this dataset."""
        return self._workers.get(dataset, "")

    async def reached(self, point: Point, who: str, dataset: str, **facts: Any) -> None:
        """Tell of a moment; returns when its request may go on."""
        if strike := self.tell(point, who, dataset, **facts):
            await strike.deed.held()

    def tell(self, point: Point, who: str, dataset: str, **facts: Any) -> Strike | None:
        """Tell of a moment; the deed that it was waited for with has begun. May be called from any thread."""
        with self._lock:
            moment = self._noted(point, who, dataset, facts)
            strike = self._met(moment)
            if strike is None or self.fleet is None:
                return None
            replica = self.fleet.living_as(who)
            if replica is None or not replica.up:
                return None  # it has met its fate already
            self._waiting.remove(strike)
            strike.moment, strike.replica = moment, replica
            self._begin(replica, strike.deed)
        self._loop.call_soon_threadsafe(self._follow, replica, strike.deed, strike)
        return strike

    def _noted(self, point: Point, who: str, dataset: str, facts: Mapping[str, Any]) -> Moment:
        at_s = time.monotonic() - self._began_s
        moment = Moment(len(self.journal), point, who, dataset, at_s, facts)
        self.journal.append(moment)
        if dataset:
            self._workers[dataset] = who
            for open_one in self.take_overs:
                if open_one.seconds is None and open_one.dataset == dataset and open_one.lost_by != who:
                    open_one.seconds = at_s - open_one.since_s
        return moment

    def _met(self, moment: Moment) -> Strike | None:
        for strike in self._waiting:
            if strike.at.meets(moment):
                strike.seen += 1
                if strike.seen >= strike.at.nth:
                    return strike
        return None

    def _begin(self, replica: Replica, deed: Deed) -> None:
        deed.begin(replica)
        with self._lock:
            if replica.frozen:
                self._noted("frozen", replica.who, "", {})
            since_s = time.monotonic() - self._began_s
            if deed.name in {"kill", "terminate", "freeze"}:
                self.take_overs += [TakeOver(dataset, replica.who, since_s) for dataset in self.works(replica.who)]

    def _follow(self, replica: Replica, deed: Deed, strike: Strike | None) -> None:
        async def follow() -> None:
            if strike is not None:
                strike.begun.set()
            who = replica.who
            try:
                if complaint := await deed.follow(replica, self):
                    self.complaints.append(complaint)
            except Exception as error:  # noqa: BLE001 - a replica that does not come back is a finding, too
                self.complaints.append(f"{who} did not come back after {deed.name}: {error!r}, see {replica.log}")
            if deed.name == "freeze":
                with self._lock:
                    self._noted("thawed", who, "", {})
                    self.take_overs = [one for one in self.take_overs if one.seconds is not None or one.lost_by != who]
                self.somebody_thawed = True
            if strike is not None:
                strike.done.set()

        task = self._loop.create_task(follow())
        self._following.add(task)
        task.add_done_callback(self._following.discard)
