"""A few processes on one database and one landing, in virtual time, and what can befall them."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import datetime as dt
import itertools
import uuid
from collections import defaultdict, deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from service.classification.records import Volume
from service.clock import as_text, microseconds
from service.errors import DxrIngestError
from service.landing import layout
from service.landing.cleanup import clean
from service.observability.metrics import Metrics
from service.retrying import Retrying
from service.runs.claims import Claims
from service.runs.execution import Execution, Work
from service.runs.model import Kind, Request
from service.runs.receipts import note_receipts, settle_unsure
from service.runs.store import IdempotencyKey, RunStore
from service.runs.supervisor import Chore, Supervisor
from service.snapshot.plan import SnapshotRules
from tests.property.flows import PLANS, Plan, ScriptedClassifications, ScriptedSnapshots, Source
from tests.property.landing import MemoryLanding
from tests.property.referee import Asked, Referee
from tests.property.sqlite import CLAIM, AwayError, empty_database, opened
from tests.property.virtual import OWNER, VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from service.runs.model import Run
    from tests.property.sqlite import InLoop

SLOTS: Final = (0, 1, 2)
LEASE_S: Final = 4.0
_ATTEMPTS_MAX: Final = 3
_TAKEOVERS_MAX: Final = 1
_RETRY_WAIT_S_MAX: Final = 2.0
_ASK_THE_LANDING_S: Final = 5.0
_STOP_S: Final = 3.0
_QUIET_S_MAX: Final = 400
_DAY: Final = dt.timedelta(days=1)
_STORES: Final = frozenset({"claims", "memory", "store"})

# Points at which something can befall a process, and how often about they are reached before a run ends: statements of
# its looks and of its runs, the landing, the way of a commit.
STATEMENTS: Final = (("look", "look done", "write", "write done"), 30)
LOOKS: Final = (("landing", "part"), 6)
COMMITS: Final = (("commit", "commit proven", "commit done"), 2)
DEEDS: Final = (
    *("crash", "leave", "freeze", "nod off", "cancel", "lose the answer"),
    *("database away", "database away long", "landing away"),
    *("jump ahead", "jump a little", "jump back"),
)


@dataclass
class HostClock:
    """One clock for all, which somebody sets now and then."""

    loop: VirtualLoop
    ahead_s: float = 0.0
    jumps: int = 0

    def now(self) -> dt.datetime:
        return dt.datetime(2026, 11, 22, tzinfo=dt.UTC) + dt.timedelta(seconds=self.ahead_s + self.loop.time())

    def now_text(self) -> str:
        return as_text(self.now())

    def now_us(self) -> int:
        return microseconds(self.now())

    def monotonic_s(self) -> float:
        return self.loop.time()


class Watched(Execution):
    """Says in whose name a task acts."""

    async def carry_out(self, work: Work) -> None:
        CLAIM.set((work.claim.run.id, work.claim.fence))
        await super().carry_out(work)


class Life:
    """One process from its start to its end."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.parked: list[asyncio.Handle] = []
        self.connections: list[InLoop] = []
        self.stands_still = self.dead = self.leaving = False
        self.latency_s = 0.0
        self._world = world
        self._database_away_until_s = 0.0
        self._answer_lost = False
        self._drain_s: asyncio.Future[float] = world.loop.create_future()
        self._context = contextvars.copy_context()
        self._context.run(OWNER.set, self)
        self._database = opened(world.path, world.clock)
        self.store = RunStore(self._database, world.clock)
        claims = Claims(self._database, name, LEASE_S)
        chores = [Chore(self._ask_the_landing, _ASK_THE_LANDING_S)]
        self.supervisor = Supervisor(self.store, claims, world.execution(), chores)
        self.main = self.do(self._live())
        world.burials.append(world.outside(self._buried()))

    def do(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Let this process do something."""
        return self._context.run(self._world.loop.create_task, work)

    async def _live(self) -> None:
        async with self.supervisor.working():
            await self.supervisor.drain(await self._drain_s, _STOP_S)

    async def _ask_the_landing(self) -> None:
        await note_receipts(self.store, self._world.landing)
        await settle_unsure(self.store, self._world.landing)

    async def keep_house(self) -> None:
        """As the service does once a day, with the shortest times that can be set."""
        now = self._world.clock.now()
        await self.store.forget(as_text(now - _DAY))
        await clean(self._world.landing, self.store.ended, 1, now, dry_run=False)

    @property
    def answers(self) -> bool:
        """Whether somebody who asks this process hears from it."""
        return not (self.stands_still or self.leaving or self.dead)

    def leave(self, drain_s: float) -> None:
        """As on SIGTERM."""
        self.leaving = True
        if not self._drain_s.done():
            self._drain_s.set_result(drain_s)

    def freeze(self, seconds: float) -> None:
        """As on SIGSTOP. A transaction that is open then is undone, as PostgreSQL does it after a while."""
        self.stands_still = True
        self._world.referee.unsteady()
        for connection in self.connections:
            connection.lose()
        self._world.later(seconds, self.thaw)

    def thaw(self) -> None:
        self.stands_still = False
        self._world.loop.resume(self)

    def crash(self) -> None:
        """Nothing of it reaches anybody any more; what its tasks still do is only there to end them."""
        if self.dead:
            return
        self.dead = True
        for connection in self.connections:
            connection.end()
        for task in list(self.tasks):
            if not _is_statement(task):
                task.cancel()
        self.thaw()

    async def _buried(self) -> None:
        """When it has come to its end, in whichever way, nothing is left."""
        await asyncio.wait([self.main])
        self.crash()
        while self.tasks:
            await asyncio.wait(self.tasks)
        await self.do(self._database.close())

    # What the database and the landing ask for.

    def reach(self, point: str) -> None:
        """Let happen what was laid out for this moment."""
        self._world.reached(self, point)

    def database_away(self, seconds: float) -> None:
        self._database_away_until_s = self._world.loop.time() + seconds

    def database_answers(self) -> None:
        if self.dead or self.answer_is_lost() or self._world.loop.time() < self._database_away_until_s:
            raise AwayError("the database is away")

    def lose_the_answer(self) -> None:
        self._answer_lost = True

    def answer_is_lost(self) -> bool:
        lost, self._answer_lost = self._answer_lost, False
        return lost


@dataclass
class Mishap:
    point: str
    left: int
    deed: str


class World:
    """Everything of one example."""

    def __init__(self, folder: Path) -> None:
        self.loop = VirtualLoop()
        self.loop.set_exception_handler(self._unhandled)
        self.clock = HostClock(self.loop)
        self.path = folder / "runs.sqlite"
        self.path.write_bytes(empty_database())
        self.referee = Referee(self.path, _ATTEMPTS_MAX, _TAKEOVERS_MAX)
        self.landing = MemoryLanding(self.clock, self.referee.mark, self._linking, self._turned_away)
        self.referee.files = self.landing.files
        self.burials: list[asyncio.Task[Any]] = []
        self._lives: dict[int, Life] = {}
        self._births = itertools.count(1)
        self._plans: defaultdict[str, deque[str]] = defaultdict(deque)
        self._mishaps: list[Mishap] = []
        self._furthest_s = 0.0

    # Who and what is there.

    @property
    def free_slots(self) -> list[int]:
        """Where no process is."""
        return [slot for slot in SLOTS if slot not in self._lives or self._lives[slot].dead]

    @property
    def frozen(self) -> list[Life]:
        return [life for life in self._lives.values() if life.stands_still]

    @property
    def awaited(self) -> list[str]:
        """Runs about whose commit the Spark job has not spoken, the oldest first."""
        names = sorted(name for path in self.landing.files if (name := layout.CommitName.parse(path)))
        return [name.run_id for name in names if layout.receipt_path(name.run_id) not in self.landing.files]

    def somebody(self, slot: int) -> Life | None:
        """A process that answers, the one in that place if possible."""
        order = sorted(self._lives, key=lambda other: (other != slot, other))
        return next((self._lives[other] for other in order if self._lives[other].answers), None)

    # What happens.

    def pass_by(self, seconds: float) -> None:
        """Let time pass, then see whether all is as it must be."""
        self.loop.run_until_complete(asyncio.sleep(seconds))
        self.referee.look()

    def start(self, slot: int) -> None:
        self._lives[slot] = Life(self, f"p{slot}.{next(self._births)}")

    def plan(self, dataset: str, plans: list[str]) -> None:
        """How the next attempts of that dataset go; after these, well."""
        self._plans[dataset] = deque(plans)

    def trigger(self, life: Life, dataset: str, key: str | None) -> None:
        kind = Kind.SNAPSHOT if dataset.startswith("snapshot") else Kind.CLASSIFICATION
        request = Request(kind, dataset, "2026-11-22", None, None, accept_shrunken=False, trigger="test")
        named = IdempotencyKey.of("ops", "runs", key, dataset) if key else None
        asked = Asked(dataset, key, self.clock.now_us(), self.clock.jumps)
        self.referee.asks(asked)

        async def ask() -> None:
            try:
                answer: Run | DxrIngestError = await life.store.create(request, named)
                life.supervisor.wake()
            except DxrIngestError as error:
                answer = error
            if not life.dead:
                self.referee.triggered(asked, answer, self.clock.now_us(), self.clock.jumps)

        life.do(ask())

    def cancel(self, life: Life, run_id: str) -> None:
        async def ask() -> None:
            with contextlib.suppress(DxrIngestError):
                if await life.supervisor.cancel(run_id) is not None and not life.dead:
                    self.referee.cancelled(run_id)

        life.do(ask())

    def keep_house(self, life: Life) -> None:
        async def keep() -> None:
            with contextlib.suppress(DxrIngestError):
                await life.keep_house()

        life.do(keep())

    def lay_out(self, point: str, nth: int, deed: str) -> None:
        """Something will befall the process that is the n-th to reach that point."""
        self._mishaps.append(Mishap(point, nth, deed))

    def reached(self, life: Life, point: str) -> None:
        if life.dead:
            return
        for mishap in [mishap for mishap in self._mishaps if mishap.point == point]:
            mishap.left -= 1
            if mishap.left == 0:
                self._mishaps.remove(mishap)
                self.befall(life, mishap.deed)

    def befall(self, life: Life, deed: str) -> None:
        """Something happens to a process, or around it."""
        {
            "crash": life.crash,
            "leave": lambda: life.leave(LEASE_S / 2),
            "freeze": lambda: life.freeze(2 * LEASE_S),
            "nod off": lambda: life.freeze(LEASE_S - 0.1),
            "cancel": self._cancel_this,
            "lose the answer": life.lose_the_answer,
            "database away": lambda: life.database_away(LEASE_S / 2),
            "database away long": lambda: life.database_away(2 * LEASE_S),
            "landing away": lambda: self.landing.be_away(LEASE_S),
            "jump ahead": lambda: self.jump(LEASE_S + 1),
            "jump a little": lambda: self.jump(LEASE_S - 0.5),
            "jump back": lambda: self.jump(-LEASE_S),
        }[deed]()

    def _cancel_this(self) -> None:
        if (claim := CLAIM.get()) and (other := self.somebody(0)):
            self.cancel(other, claim[0])

    def jump(self, seconds: float) -> None:
        """Set the clock."""
        self.clock.ahead_s += seconds
        self.clock.jumps += 1
        self._furthest_s = max(self._furthest_s, self.clock.ahead_s)
        self.referee.unsteady()

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        """Something that no process does."""
        self.loop.call_later(seconds, work, context=contextvars.Context())

    def outside(self, work: Coroutine[Any, Any, Any]) -> Awaitable[Any]:
        return contextvars.Context().run(self.loop.create_task, work)

    # The end.

    def settle(self) -> None:
        """No more mishaps, and one healthy process at least: everything has to come to its end."""
        self.jump(self._furthest_s - self.clock.ahead_s)
        self.landing.be_away(0)
        self._mishaps.clear()
        for life in self._lives.values():
            life.database_away(0)
            life.answer_is_lost()
            life.latency_s = 0.0
            life.thaw()
        if self.somebody(0) is None:
            self.start(len(SLOTS))
        self._until_quiet()
        before = set(self.referee.runs)
        self._plans.clear()
        for dataset in sorted({run.dataset for run in self.referee.runs.values()}):
            if life := self.somebody(0):
                self.trigger(life, dataset, None)
        self._until_quiet()
        self.referee.free(before)

    def _until_quiet(self) -> None:
        for _ in range(_QUIET_S_MAX):
            self.pass_by(1.0)
            if self.referee.is_quiet:
                self.referee.quiet()
                return
        raise AssertionError("it never came to rest", self.referee.runs)

    def close(self) -> None:
        """End everything, however it went."""
        for life in self._lives.values():
            life.crash()
        self.loop.run_until_complete(asyncio.gather(*self.burials))
        self.referee.close()
        self.loop.close()

    # What the parts ask for.

    def execution(self) -> Execution:
        unused: Any = None
        snapshots = ScriptedSnapshots(
            source=cast("Any", Source),
            landing=self.landing,
            limits=unused,
            rules=SnapshotRules(allow_empty=False, rows_ratio_min=0.5),
            stall_timeout_s=60,
            accept_unproven=False,
            retrying=Retrying(_ATTEMPTS_MAX, _RETRY_WAIT_S_MAX, lambda _: None),
            clock=self.clock,
            next_plan=self._next_plan,
        )
        volume = Volume("main", "dxr", "files")
        classifications: Any = ScriptedClassifications(self.landing, self._next_plan, volume)
        return Watched(self.landing, snapshots, classifications, Metrics(), self.clock, _TAKEOVERS_MAX)

    def _next_plan(self, dataset: str) -> Plan:
        plans = self._plans[dataset]
        return PLANS[plans.popleft() if plans else "good"]

    def _linking(self, path: str, mark: int) -> None:
        self.referee.linking(path, CLAIM.get(), mark)

    def _turned_away(self) -> None:
        self.referee.turned_away(CLAIM.get())

    def _unhandled(self, _loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, DxrIngestError):  # what nobody waits for any more may fail
            self.referee.violated(f"{context['message']}: {error!r}")


def _is_statement(task: asyncio.Task[Any]) -> bool:
    """Whether it comes to its end by itself (`whole`): it is told soon enough that the database is away."""
    path = Path(cast("Any", task.get_coro()).cr_code.co_filename)
    return path.stem in _STORES or "sqlalchemy" in path.parts


def run_ids() -> Callable[[], uuid.UUID]:
    """Ids that rise, the same ones in each repetition of an example."""
    numbers = itertools.count(1)
    return lambda: uuid.UUID(int=next(numbers))
