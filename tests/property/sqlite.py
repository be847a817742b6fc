"""The real SQLite below the real driver, without its thread: statements run in the loop, may take their time and fail.

Every change is written down by triggers, with who made it: a life, and the claim in whose name it acts.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import sqlite3
from contextvars import ContextVar
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

import sqlalchemy.event

from service.clock import SystemClock
from service.runs.database import Database
from service.runs.schema import attempts, batches, runs, slots
from tests.property.virtual import OWNER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.clock import Clock

# The run and the fence of the claim in whose name a task acts.
CLAIM: ContextVar[tuple[str, int] | None] = ContextVar("claim", default=None)
_BUSY_S: Final = 10.0
_BUSY_LOOK_S: Final = 0.01
# What goes to the database; all else (cursors, settings) happens in the driver.
_STATEMENTS: Final = frozenset({"execute", "executemany", "commit", "rollback"})
_CLOSING: Final = frozenset({"close", "close_and_stop"})
_AUDITED: Final = (runs, attempts, slots, batches)


class AwayError(sqlite3.OperationalError):
    """The database does not answer."""


class _NoThread:
    daemon = True

    def __init__(self, **_: Any) -> None: ...

    def start(self) -> None: ...


class InLoop:
    """Stands where the driver has the queue to its thread."""

    def __init__(self) -> None:
        self._raw: sqlite3.Connection | None = None
        self._lost = False

    def lose(self) -> None:
        """What was not committed is undone: a server ends the session of a process that stands still in it."""
        if self._raw is not None and self._raw.in_transaction:
            self._raw.rollback()
            self._lost = True

    def end(self) -> None:
        if self._raw is not None:
            self._raw.close()

    def put_nowait(self, item: tuple[asyncio.Future[Any], Callable[[], Any]]) -> None:
        future, function = item
        owner, loop = OWNER.get(), asyncio.get_running_loop()
        name = getattr(getattr(function, "func", function), "__name__", "")
        setting = str(next(iter(getattr(function, "args", ())), "")).startswith("PRAGMA")
        if name in _CLOSING and self in owner.connections:
            owner.connections.remove(self)
        if name in _STATEMENTS and not setting:
            loop.call_later(owner.latency_s, self._ask, future, function, loop.time() + _BUSY_S)
        else:
            _answer(future, lambda: self._done(function))

    def _done(self, function: Callable[[], Any]) -> Any:
        result = function()
        if isinstance(result, sqlite3.Connection):
            self._raw = result
            OWNER.get().connections.append(self)
        return result

    def _ask(self, future: asyncio.Future[Any], function: Callable[[], Any], until_s: float) -> None:
        owner, loop = OWNER.get(), asyncio.get_running_loop()
        owner.reach(_point())
        if owner.stands_still:
            loop.call_soon(self._ask, future, function, until_s)
            return
        try:
            _answer(future, lambda: self._asked(function), busy=loop.time() < until_s)
        except sqlite3.OperationalError:
            loop.call_later(_BUSY_LOOK_S, self._ask, future, function, until_s)

    def _asked(self, function: Callable[[], Any]) -> Any:
        owner = OWNER.get()
        try:
            self._answers()
            result = function()
            owner.reach(f"{_point()} done")
            self._answers()
        except AwayError:
            if not owner.dead:
                self.lose()
            raise
        return result

    def _answers(self) -> None:
        if self._lost:
            raise AwayError("the connection is lost")
        OWNER.get().database_answers()


def _point() -> str:
    return "look" if CLAIM.get() is None else "write"


def _answer(future: asyncio.Future[Any], function: Callable[[], Any], *, busy: bool = False) -> None:
    """What the function gives or raises; with `busy`, a lock that somebody else has is raised here."""
    try:
        result, error = function(), None
    except Exception as caught:  # noqa: BLE001 - the driver passes on whatever it is
        result, error = None, caught
    if busy and getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
        raise error
    if future.done():  # only a process that is gone gives up a statement
        assert OWNER.get().dead
    elif error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


@contextlib.contextmanager
def without_threads() -> Iterator[None]:
    """The driver as it is, on this loop."""
    with mock.patch("aiosqlite.core.SimpleQueue", InLoop), mock.patch("aiosqlite.core.Thread", _NoThread):
        yield


def opened(path: Path, clock: Clock) -> Database:
    """The database as one life has it: it never waits for a lock in real time, and says who writes."""
    database = Database(f"sqlite+aiosqlite:///{path}?timeout=0", clock)

    def configure(connection: Any, _record: Any) -> None:
        connection.create_function("writer", 0, _writer)
        cursor = connection.cursor()
        cursor.execute("PRAGMA busy_timeout=0")
        cursor.execute("PRAGMA synchronous=OFF")
        cursor.close()

    for engine in (database._engine, database._single):
        sqlalchemy.event.listen(engine.sync_engine, "connect", configure)
    return database


def _writer() -> str:
    run_id, fence = CLAIM.get() or (None, None)
    return json.dumps([OWNER.get().name, run_id, fence])


@functools.cache
def empty_database() -> bytes:
    """A database file with the tables of the migrations, and with the triggers that write down every change."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "runs.sqlite"

        async def migrate() -> None:
            database = Database(f"sqlite+aiosqlite:///{path}", SystemClock())
            await database.migrate()
            await database.close()

        asyncio.run(migrate())
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute(
                "CREATE TABLE audit (n INTEGER PRIMARY KEY, writer TEXT, at_us INTEGER, name TEXT, old TEXT, new TEXT)"
            )
            for table in _AUDITED:
                for deed, old, new in (("INSERT", "", "NEW"), ("UPDATE", "OLD", "NEW"), ("DELETE", "OLD", "")):
                    connection.execute(_trigger(table, deed, old, new))
            connection.commit()
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return path.read_bytes()


def _trigger(table: Any, deed: str, old: str, new: str) -> str:
    def row(which: str) -> str:
        pairs = ", ".join(f"'{column.name}', {which}.{column.name}" for column in table.columns)
        return f"json_object({pairs})" if which else "NULL"

    return (
        f"CREATE TRIGGER audit_{table.name}_{deed} AFTER {deed} ON {table.name} BEGIN INSERT INTO audit "
        f"(writer, at_us, name, old, new) VALUES (writer(), now_us(), '{table.name}', {row(old)}, {row(new)}); END"
    )
