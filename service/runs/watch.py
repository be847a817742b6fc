"""Runs as they change, for everybody who follows one: the store is looked at once a second for all of them together.

The store is the source, not this process: what another replica does with a run is seen here too.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
import structlog

from service.errors import DxrIngestError, NotFoundError, StoreError
from service.runs.database import whole
from service.runs.events import Event, Seen, awaits_receipt, end, ending, news
from service.runs.schema import runs
from service.runs.store import run_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Collection

    from service.clock import Clock
    from service.runs.store import RunStore

_log = structlog.get_logger(__name__)
FOLLOWERS_MAX: Final = 100
_LOOK_EVERY_S: Final = 1.0
_RECEIPT_WAIT_S: Final = 15 * 60.0


class RunWatch:
    """Follows runs for at most `FOLLOWERS_MAX` at once."""

    def __init__(self, store: RunStore, clock: Clock, receipt_wait_s: float = _RECEIPT_WAIT_S) -> None:
        self.receipt_wait_s = receipt_wait_s
        self._store = store
        self._clock = clock
        self._followers = set[Follower]()
        self._looking: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def followers(self) -> int:
        """How many there are now."""
        return len(self._followers)

    @contextlib.asynccontextmanager
    async def following(self, run_id: str) -> AsyncGenerator[Follower]:
        """The run from now on. Raises `NotFoundError`, and `StoreError` also when there is no room for one more."""
        if self._closed:
            raise StoreError("SERVICE_UNAVAILABLE", "This service is shutting down.", "Ask again, or another replica.")
        if len(self._followers) >= FOLLOWERS_MAX:
            raise StoreError(
                "TOO_MANY_STREAMS", f"{FOLLOWERS_MAX} streams of events are open already.", "Close one, or wait."
            )
        follower = Follower(self, run_id)
        self._followers.add(follower)
        try:
            follower.tell((await self._seen([run_id])).get(run_id))
            if follower.latest is None:
                raise NotFoundError(f"There is no run {run_id}.", "GET /v1/runs or `dxr-ingest runs list` shows them.")
            if self._looking is None:
                self._looking = asyncio.create_task(self._look_again_and_again())
            yield follower
        finally:
            self._followers.discard(follower)
            if not self._followers and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    def close(self) -> None:
        """End every stream, and begin none any more: the process shuts down."""
        self._closed = True
        for follower in self._followers:
            follower.changed.set()

    @property
    def closed(self) -> bool:
        """Whether the process shuts down."""
        return self._closed

    async def _look_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            asked = {follower.run_id for follower in self._followers}
            try:
                seen = await self._seen(asked)
            except DxrIngestError as error:  # it may come back; who follows sees nothing new meanwhile
                _log.warning("watch_waits", code=error.code)
                continue
            for follower in self._followers:
                if follower.run_id in asked:
                    follower.tell(seen.get(follower.run_id))

    @whole
    async def _seen(self, run_ids: Collection[str]) -> dict[str, Seen]:
        query = sa.select(runs).where(runs.c.id.in_(sorted(run_ids)))
        async with self._store.database.statement() as connection:
            rows = (await connection.execute(query)).mappings().all()
        at = self._clock.now_text()
        return {row["id"]: Seen(run_of(row), row["revision"], at) for row in rows}


class Follower:
    """One who follows a run. It is told the newest only: however slowly it reads, nothing queues up."""

    def __init__(self, watch: RunWatch, run_id: str) -> None:
        self.run_id = run_id
        self.latest: Seen | None = None
        self.changed = asyncio.Event()
        self._watch = watch

    def tell(self, seen: Seen | None) -> None:
        """The run as it is now; None when there is none any more."""
        if seen is not None and self.latest is not None and seen.revision < self.latest.revision:
            return  # of a look that began before the one that it knows
        self.latest = seen
        self.changed.set()

    async def events(self, last_id: int | None = None) -> AsyncIterator[Event]:
        """What happens to the run, from what the event `last_id` told, to the end."""
        watch = self._watch
        known = self.latest if self.latest and self.latest.revision == last_id else None
        last, give_up_s = self.latest, None
        loop = asyncio.get_running_loop()
        while True:
            self.changed.clear()
            now = self.latest
            if now is not None:
                if event := news(known, now):
                    yield event
                last = known = now
                if give_up_s is None and awaits_receipt(now.run):
                    give_up_s = loop.time() + watch.receipt_wait_s
            waited_enough = give_up_s is not None and loop.time() >= give_up_s
            why = ending(now and now.run, waited_enough=waited_enough, draining=watch.closed)
            if why and last is not None:
                yield end(last.run, last.revision, why)
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(give_up_s):
                    await self.changed.wait()
