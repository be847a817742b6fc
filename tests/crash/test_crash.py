"""Whatever befalls a process, and whenever: each run ends with one whole commit, and no file is submitted twice.

The short set, at chosen moments. `make crash` is the long one, at random. What is right is in `judge.py`.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.crash.deeds import Deed, Freeze, Kill, Pause, Terminate
from tests.crash.points import At
from tests.crash.world import LEASE_S, Place, World

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.crash.conftest import Worlds
    from tests.crash.judge import Asked
    from tests.crash.replicas import Replica
    from tests.postgres import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")

ONE = Place("sqlite", 1)
TWO = Place("postgres", 2)
VOLUME = Place("postgres", 2, "volume")
# Each wakes up when somebody else has taken its run over. A late one's request, long under way, arrives only then.
FROZEN = Freeze(until="taken over")
FROZEN_LATE = Freeze(until="taken over", late=True)
FROZEN_LATEST = Freeze(until="run ended", late=True)

SNAPSHOTS: list[tuple[Place, At, Deed]] = [
    (ONE, At("rows served", 4), Kill()),
    (ONE, At("commit begun"), Kill()),
    (ONE, At("commit there"), Kill()),
    (ONE, At("rows served", 4), Freeze(2)),
    (ONE, At("rows served", 4), Terminate()),
    (TWO, At("rows served", 4), Kill()),
    (TWO, At("commit there"), Kill()),
    (TWO, At("rows served", 4), FROZEN),
    (TWO, At("stream ended"), FROZEN),
    (TWO, At("commit begun"), FROZEN),
    (TWO, At("rows served", 4), Terminate()),
    (VOLUME, At("commit begun"), Kill()),
    (VOLUME, At("commit there"), Kill()),
    (VOLUME, At("commit begun"), FROZEN_LATE),
    (VOLUME, At("commit begun"), FROZEN_LATEST),
]
CLASSIFICATIONS: list[tuple[Place, At, Deed]] = [
    (ONE, At("submit asked", 2), Kill()),
    (ONE, At("submit taken", 2), Kill()),
    (ONE, At("poll answered", 3), Kill()),
    (ONE, At("commit begun"), Kill()),
    (ONE, At("poll asked", 4), Terminate()),
    (TWO, At("submit asked", 2), Kill()),
    (TWO, At("submit taken", 3), Kill()),
    (TWO, At("submit taken", 2), FROZEN),
    (TWO, At("poll answered", 4), FROZEN),
    (TWO, At("submit asked", 2), FROZEN_LATE),
    (TWO, At("submit asked", 2), FROZEN_LATEST),
    (TWO, At("poll asked", 4), Terminate()),
    (VOLUME, At("commit begun"), FROZEN_LATEST),
]


@pytest.mark.parametrize(("place", "at", "deed"), SNAPSHOTS, ids=str)
async def test_a_snapshot_lands_once(place: Place, at: At, deed: Deed, worlds: Worlds) -> None:
    world = await worlds.at(place)
    await befallen(world, at, deed, ask=world.snapshot)


@pytest.mark.parametrize(("place", "at", "deed"), CLASSIFICATIONS, ids=str)
async def test_a_classification_submits_and_lands_once(place: Place, at: At, deed: Deed, worlds: Worlds) -> None:
    world = await worlds.at(place)
    await befallen(world, at, deed, ask=world.classification)


async def befallen(world: World, at: At, deed: Deed, ask: Callable[[], Awaitable[Asked]]) -> None:
    """Ask for a run, let this befall it, and have it judged."""
    since, known = len(world.moments.journal), len(world.judge.score.violations)
    strike = world.at(at, deed)
    [run] = await world.ended(await ask())
    await world.settled()
    violations = world.judge.finish().violations[known:]
    assert strike.moment, f"{at} never came\n{world.story(since)}"
    assert violations == [], world.story(since)
    assert run["state"] == "landed"


async def test_a_process_that_is_frozen_in_a_transaction_holds_nobody_up(worlds: Worlds) -> None:
    """Its run is taken over, and other runs go on, although the database still has its locks."""
    world = await worlds.at(TWO)
    since, known, paused = len(world.moments.journal), len(world.judge.score.violations), Pause()
    stream = world.at(At("rows served", 4), paused)
    asked = await world.snapshot()
    async with asyncio.timeout(30):
        await stream.begun.wait()
    frozen = stream.replica
    assert frozen is not None
    await freeze_in_a_transaction(world, frozen)
    try:
        [run, other] = await world.ended(asked, await world.snapshot("small_files"))
        assert frozen.frozen
    finally:
        frozen.send(signal.SIGCONT)
        paused.open()
        world.moments.somebody_thawed = True
    await world.settled()
    assert world.judge.finish().violations[known:] == [], world.story(since)
    assert [run["state"], other["state"]] == ["landed", "landed"]


async def freeze_in_a_transaction(world: World, replica: Replica) -> None:
    """Freeze it when it has written in a transaction and not ended it; after 10 seconds, anyway."""
    connection = await asyncpg.connect(world.database_url)

    async def waiting() -> set[tuple[int, object]]:
        return {(row["pid"], row["xact_start"]) for row in await connection.fetch(_WAITING)}

    try:
        async with asyncio.timeout(10):
            while True:
                if before := await waiting():
                    replica.send(signal.SIGSTOP)
                    await asyncio.sleep(0.05)  # what another process does is over then
                    if before & await waiting():
                        return
                    replica.send(signal.SIGCONT)
    except TimeoutError:
        replica.send(signal.SIGSTOP)  # it never leaves a transaction open
    finally:
        await connection.close()


_WAITING = """
    SELECT pid, xact_start FROM pg_stat_activity
    WHERE datname = current_database() AND state LIKE 'idle in transaction%' AND backend_xid IS NOT NULL
"""


async def test_the_database_is_away_for_a_while(worlds: Worlds, postgres: Postgres) -> None:
    """Triggers say 503, nothing is published without its lease, nothing fails, and everything goes on afterwards."""
    world = await worlds.at(TWO)
    since, known = len(world.moments.journal), len(world.judge.score.violations)
    paused = Pause()
    stream = world.at(At("rows served", 4), paused)
    asked = await world.snapshot()
    async with asyncio.timeout(30):
        await stream.begun.wait()
    postgres.stop()
    try:
        for replica in world.fleet.all:
            while (await world.fleet.ask("GET", "/readyz", of=replica)).status != 503:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            refused = await world.fleet.ask(
                "POST", "/v1/snapshots", {"dataset": "other", "query": "size > 1"}, of=replica
            )
            assert (refused.status, refused.headers["Retry-After"].isdecimal()) == (503, True)
            assert refused.headers["Content-Type"] == "application/problem+json"
        paused.open()
        await asyncio.sleep(3 * LEASE_S)  # the stream ends, the lease runs out
        assert world.commits_of(asked) == []
    finally:
        postgres.start()
    [run] = await world.ended(asked)
    await world.settled()
    assert world.judge.finish().violations[known:] == [], world.story(since)
    assert run["state"] == "landed"
    assert (await world.fleet.ask("GET", "/readyz")).status == 200
