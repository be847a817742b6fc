"""`make crash`: processes are killed, frozen and terminated until enough were killed; exit code 1 on any violation.

python -m tests.crash --kills 200 --seed 7
python -m tests.crash --seed 7 --place postgres-2-folder --round 12      # one round again, alone
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.table import Column, Table

from tests.crash.judge import Score
from tests.crash.scenario import drawn, play
from tests.crash.world import Place, opened_world
from tests.postgres import running_postgres

if TYPE_CHECKING:
    from tests.crash.scenario import Round
    from tests.crash.world import World
    from tests.postgres import Postgres

KINDS: Final = ("snapshot", "classification")
PLACES: Final = (
    Place("sqlite", 1, "folder"),
    Place("postgres", 2, "folder"),
    Place("postgres", 1, "folder"),
    Place("sqlite", 1, "volume"),
    Place("postgres", 2, "volume"),
)
# A world grows with its runs; a fresh one now and then keeps rounds alike and failures easy to read.
ROUNDS_A_WORLD: Final = 12

say = Console(highlight=False, soft_wrap=True, width=160)


@dataclass
class Tally:
    """What happened at one place."""

    place: Place
    rounds: int = 0
    deeds: Counter[str] = field(default_factory=Counter[str])
    score: Score = field(default_factory=Score)
    take_overs_s: list[float] = field(default_factory=list[float])

    def add(self, score: Score, take_overs_s: list[float]) -> None:
        """The figures of a world that is over."""
        for name, value in asdict(score).items():
            setattr(self.score, name, getattr(self.score, name) + value)
        self.take_overs_s += take_overs_s


async def crash(arguments: argparse.Namespace, postgres: Postgres | None) -> list[Tally]:
    """Play at every place, until as many processes were killed as were asked for."""
    tallies = [Tally(place) for place in arguments.places]
    share = -(-arguments.kills // len(tallies))
    for tally in tallies:
        numbers = iter([arguments.round] if arguments.round else range(1, 10**6))
        while tally.deeds["kill"] < share and (batch := list(itertools.islice(numbers, ROUNDS_A_WORLD))):
            await one_world(arguments, tally, batch, share, postgres)
            if tally.score.violations and not arguments.go_on:
                return tallies
    return tallies


async def one_world(
    arguments: argparse.Namespace, tally: Tally, numbers: list[int], share: int, postgres: Postgres | None
) -> None:
    """A few rounds in a world of their own; its folder stays when something was wrong."""
    folder = Path(tempfile.mkdtemp(prefix="dxr-ingest-crash-"))
    async with opened_world(folder, tally.place, postgres, arguments.seed) as world:
        for number in numbers:
            this = drawn(arguments.seed, tally.place, number, arguments.kinds)
            tell(arguments, tally, this)
            since, known = len(world.moments.journal), len(world.judge.score.violations)
            try:
                tally.deeds.update(await play(world, this))
            except (AssertionError, TimeoutError) as error:
                world.broken = True
                world.judge.score.violations.append(f"{this.number}: {str(error).partition(chr(10))[0]}")
            tally.rounds += 1
            if found := world.judge.score.violations[known:]:
                explain(arguments, tally, this, found, world, since)
            if world.broken or tally.deeds["kill"] >= share or (found and not arguments.go_on):
                break
        took = [one.seconds for one in world.moments.take_overs if one.seconds is not None]
        tally.add(world.judge.score, took)
    if not world.judge.score.violations:
        shutil.rmtree(folder)


def tell(arguments: argparse.Namespace, tally: Tally, this: Round) -> None:
    """The progress line."""
    if not arguments.quiet:
        killed = f"{tally.deeds['kill']} killed"
        say.print(f"{tally.place!s:18} seed {arguments.seed} {killed:>11}  {this}")


def explain(
    arguments: argparse.Namespace, tally: Tally, this: Round, found: list[str], world: World, since: int
) -> None:
    """What was wrong, what happened before, and how to see it again."""
    story = world.folder / f"round-{this.number}.txt"
    story.write_text("\n".join([str(this), *found, *map(str, world.moments.journal[since:])]))
    for violation in found:
        say.print(f"[red]violation[/]  {violation}", markup=True)
    kinds = ",".join(arguments.kinds)
    again = f"--seed {arguments.seed} --kind {kinds} --place {tally.place} --round {this.number}"
    say.print(f"           again: python -m tests.crash {again}")
    say.print(f"           moments: {story}, logs: {world.folder}/replicas")


def table(tallies: list[Tally]) -> Table:
    """The figures of all places."""
    shown = Table(Column("", no_wrap=True), *[str(tally.place) for tally in tallies], "in all", box=None)
    columns = [figures(tally) for tally in tallies]
    whole = Tally(Place())
    for tally in tallies:
        whole.rounds += tally.rounds
        whole.deeds += tally.deeds
        whole.add(tally.score, tally.take_overs_s)
    columns.append(figures(whole))
    for name in columns[0]:
        shown.add_row(name, *[str(column[name]) for column in columns])
    return shown


def figures(tally: Tally) -> dict[str, Any]:
    """The figures of one place."""
    score, took = tally.score, sorted(tally.take_overs_s)
    return {
        "rounds": tally.rounds,
        "kills of a working process": tally.deeds["kill"],
        "kills of an idle one": tally.deeds["kill of an idle process"],
        "freezes": tally.deeds["freeze"],
        "terminations": tally.deeds["terminate"],
        "database away": tally.deeds["database away"],
        "runs landed": score.landed,
        "runs partial": score.partial,
        "take-overs": len(took),
        "take-over seconds, median": f"{statistics.median(took):.1f}" if took else "",
        "take-over seconds, longest": f"{took[-1]:.1f}" if took else "",
        "submitted again after FAILED": score.submitted_again_after_failure,
        "submitted again after proof": score.submitted_again_after_proof,
        "submitted again unconfirmed": score.submitted_again_unconfirmed,
        "overlaps of frozen submits": score.overlaps_in_flight,
        "lost rows": score.lost_rows,
        "doubled rows": score.doubled_rows,
        "half commits": score.half_commits,
        "violations": len(score.violations),
    }


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--kills", type=int, default=200, help="SIGKILLs of working processes in all")
    parser.add_argument("--kind", default=",".join(KINDS), help="snapshot, classification or both")
    parser.add_argument("--database", help="sqlite or postgres")
    parser.add_argument("--replicas", type=int, help="1 or 2")
    parser.add_argument("--landing", help="folder or volume")
    parser.add_argument("--place", help=f"one of {', '.join(map(str, PLACES))}")
    parser.add_argument("--round", type=int, help="only this round")
    parser.add_argument("--go-on", action="store_true", help="go on after a violation")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    arguments.kinds = [kind for kind in KINDS if kind in arguments.kind.split(",")]
    arguments.places = [
        place
        for place in PLACES
        if arguments.place in {None, str(place)}
        and arguments.database in {None, place.database}
        and arguments.replicas in {None, place.replicas}
        and arguments.landing in {None, place.landing}
    ]
    if not arguments.places or not arguments.kinds:
        parser.error("there is no such place or kind")
    return arguments


def main() -> int:
    """Play, print the table, and say by the exit code whether anything was wrong."""
    arguments = parsed()
    logging.getLogger("aiohttp.server").disabled = True  # whoever is killed in the middle of a stream is no news
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every process is ended
    began_s = time.monotonic()
    with ExitStack() as stack:
        needs_postgres = any(place.database == "postgres" for place in arguments.places)
        postgres = stack.enter_context(running_postgres()) if needs_postgres else None
        tallies = asyncio.run(crash(arguments, postgres))
    say.print(table(tallies))
    violations = [violation for tally in tallies for violation in tally.score.violations]
    say.print(f"seed {arguments.seed}, {time.monotonic() - began_s:.0f} s, {len(violations)} violations")
    if arguments.json:
        told = {str(tally.place): figures(tally) | {"violated": tally.score.violations} for tally in tallies}
        arguments.json.write_text(json.dumps({"seed": arguments.seed, "places": told}, indent=1))
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
