"""A round of the long run: what is asked for, what befalls whom and when; it follows from seed, place and number.

A round is drawn without looking at the one before, so any of them can be played again alone:
`python -m tests.crash --seed 7 --round 12 …`.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.crash.deeds import Deed, Freeze, Kill, Terminate
from tests.crash.points import CLASSIFICATION_POINTS, LANDING_POINTS, SNAPSHOT_POINTS, At
from tests.crash.world import CLASSIFIED, DATASETS, Asked
from tests.simulators.dxr import classifier_faults as odc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.crash.points import Point
    from tests.crash.world import Place, World

_LATEST_S: Final = 1.0
_AWAY_LEASES: Final = 2
# So many of a kind can come in one run; later ones would often never come.
_NTH_MAX: Final[dict[str, int]] = {
    "rows served": 8,
    "part begun": 4,
    "part there": 4,
    "submit begun": 6,
    "submit asked": 6,
    "submit taken": 6,
    "poll asked": 15,
    "poll answered": 15,
    "search asked": 6,
    "search answered": 6,
}


@dataclass(frozen=True)
class Sometime:
    """A deed at a random time instead of a moment: it befalls whoever it befalls, wherever that one is."""

    after_s: float
    replica: int
    deed: Deed

    def __str__(self) -> str:
        return f"{self.deed} of replica-{self.replica + 1} after {self.after_s:.2f} s"


@dataclass(frozen=True)
class DatabaseAway:
    """PostgreSQL is stopped at a random time, for longer than a lease."""

    after_s: float

    def __str__(self) -> str:
        return f"the database is away after {self.after_s:.2f} s"


@dataclass(frozen=True)
class Chosen:
    """A deed at a moment."""

    at: At
    deed: Deed

    def __str__(self) -> str:
        return f"{self.deed} at {self.at}"


@dataclass(frozen=True)
class Round:
    """One round: runs side by side, and what befalls them."""

    number: int
    snapshots: tuple[str, ...]
    classifies: bool
    jobs_fail: bool
    idle_is_told: bool
    deeds: tuple[Chosen | Sometime | DatabaseAway, ...]

    def __str__(self) -> str:
        runs = [*self.snapshots, *([CLASSIFIED] if self.classifies else [])]
        flags = [*(["two jobs fail"] if self.jobs_fail else []), *([] if self.idle_is_told else ["no index status"])]
        return f"round {self.number}: {', '.join([*runs, *flags])}; {'; '.join(map(str, self.deeds))}"


def drawn(seed: int, place: Place, number: int, kinds: Sequence[str]) -> Round:
    """The round of that number."""
    luck = random.Random(f"{seed} {place} {number}")
    classifies = "classification" in kinds and ("snapshot" not in kinds or luck.random() < 0.7)
    snapshots = luck.sample(list(DATASETS), luck.randint(0 if classifies else 1, 3)) if "snapshot" in kinds else []
    points: list[Point] = [*LANDING_POINTS]
    points += SNAPSHOT_POINTS if snapshots else ()
    points += CLASSIFICATION_POINTS * 2 if classifies else ()
    deeds: list[Chosen | Sometime | DatabaseAway] = [
        _deed(luck, place, points) for _ in range(luck.choice((1, 2, 2, 3, 3, 4)))
    ]
    if place.database == "postgres" and luck.random() < 0.1:
        deeds.append(DatabaseAway(luck.uniform(0, _LATEST_S)))
    jobs_fail, idle_is_told = luck.random() < 0.3, luck.random() < 0.85
    return Round(number, tuple(snapshots), classifies, classifies and jobs_fail, idle_is_told, tuple(deeds))


def _deed(luck: random.Random, place: Place, points: list[Point]) -> Chosen | Sometime:
    kinds: list[Deed] = [Kill(), Terminate(), Freeze(3), Freeze(3, late=True), Freeze(0.3)]
    [deed] = luck.choices(kinds, weights=(14, 2, 2, 2, 1))
    if luck.random() < 0.3:
        return Sometime(luck.uniform(0, _LATEST_S), luck.randrange(place.replicas), deed)
    point = luck.choice(points)
    return Chosen(At(point, luck.randint(1, _NTH_MAX.get(point, 1))), deed)


async def play(world: World, this: Round) -> Counter[str]:
    """Play a round to its end and have it judged; the deeds that were done, counted by name."""
    classifier = world.dxr.classifier
    classifier.index_status = this.idle_is_told
    if this.jobs_fail:
        classifier.faults.next(odc.FailJob(), times=2)
    strikes = [world.at(one.at, one.deed) for one in this.deeds if isinstance(one, Chosen)]
    asked = [await world.classification()] if this.classifies else []
    asked += [await world.snapshot(dataset) for dataset in this.snapshots]
    now = [asyncio.create_task(_later(world, one)) for one in this.deeds if not isinstance(one, Chosen)]
    try:
        await world.ended(*asked)
    finally:
        done = Counter(await asyncio.gather(*now))
        done.update(strike.deed.name for strike in strikes if strike.moment)
        await world.settled()
    await _judge_the_unasked(world)
    world.judge.finish()
    return done


async def _later(world: World, one: Sometime | DatabaseAway) -> str:
    """The name of the deed once it is done; one that nobody felt has another."""
    await asyncio.sleep(one.after_s)
    if isinstance(one, DatabaseAway):
        assert world.postgres is not None
        await asyncio.to_thread(world.postgres.stop)
        await asyncio.sleep(_AWAY_LEASES * world.moments.lease_s)
        await asyncio.to_thread(world.postgres.start)
        return "database away"
    replica = world.fleet.all[one.replica]
    working = replica.up and world.moments.works(replica.who)
    if replica.up:
        world.moments.now(replica, one.deed)
    return one.deed.name if working else f"{one.deed.name} of an idle process"


async def _judge_the_unasked(world: World) -> None:
    """A trigger whose answer was lost may have made a run that nobody knows of: it has to end well, too."""
    for run in await world.runs():
        if run["id"] not in world.known:
            asked = Asked(run["id"], run["kind"], run["dataset"], run["query"])
            world.known[asked.run_id] = asked
            if asked.kind == "snapshot":
                await world.ended(asked)
