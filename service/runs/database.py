"""The database of the run store: connections, its own clock, its migrations, and its errors in our words."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

import sqlalchemy as sa
import sqlalchemy.event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

from service.clock import microseconds
from service.errors import ConfigurationError, StoreError
from service.runs.schema import REVISION, metadata

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from types import CoroutineType

    from sqlalchemy.ext.asyncio import AsyncConnection
    from sqlalchemy.sql.compiler import SQLCompiler

    from service.clock import Clock

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_BUSY_TIMEOUT_MS: Final = 10_000
_CONNECT_TIMEOUT_S: Final = 5
_STATEMENT_TIMEOUT_S: Final = 10
# A transaction here takes milliseconds; one that is open for longer is of a process that was frozen in it.
_IDLE_TIMEOUT_MS: Final = 3_000
# Replicas that start together migrate one after the other.
_MIGRATION_LOCK: Final = 0x6478725F

# Alembic's own table, which says which migration was the last.
_versions: Final = sa.Table(
    "alembic_version",
    sa.MetaData(),
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)

_P = ParamSpec("_P")
_T = TypeVar("_T")


def whole(method: Callable[_P, CoroutineType[Any, Any, _T]]) -> Callable[_P, CoroutineType[Any, Any, _T]]:
    """A method that comes to its end even when its caller is cancelled meanwhile.

    A statement that is given up half-way leaves SQLite locked by a transaction that nobody ends (aiosqlite 0.22), and
    its outcome open. The time-outs of the database bound the wait.
    """

    @functools.wraps(method)
    async def to_its_end(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        work = asyncio.ensure_future(method(*args, **kwargs))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work])
            if not work.cancelled():
                work.exception()  # looked at: the cancel is what the caller hears of
            raise

    return to_its_end


class now_us(GenericFunction[int]):  # noqa: N801 - SQLAlchemy takes the class's name for the function's
    """Microseconds since 1970 by the database's clock: replicas must not believe their own."""

    type = sa.BigInteger()
    inherit_cache = True


@compiles(now_us, "postgresql")
def _postgresql_now(_element: now_us, _compiler: SQLCompiler, **_: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"


class Database:
    """One SQLite file or one PostgreSQL database. Every method raises `StoreError` when it does not answer."""

    def __init__(self, url: str, clock: Clock) -> None:
        """Raises `ConfigurationError` for an address that no driver here takes."""
        options: dict[str, Any] = {}
        try:
            parsed = sa.make_url(url)
            self.is_postgresql = parsed.get_backend_name() == "postgresql"
            if self.is_postgresql:
                options = {
                    "pool_pre_ping": True,
                    "pool_timeout": _CONNECT_TIMEOUT_S,
                    "connect_args": {
                        "timeout": _CONNECT_TIMEOUT_S,
                        "command_timeout": _STATEMENT_TIMEOUT_S,
                        "server_settings": {"idle_in_transaction_session_timeout": str(_IDLE_TIMEOUT_MS)},
                    },
                }
            self._engine = create_async_engine(parsed, **options)
        except (SQLAlchemyError, ValueError, ImportError):
            raise ConfigurationError(
                "DATABASE_URL is not the address of an SQLite or PostgreSQL database.",
                "Write it as postgresql://user:password@host:5432/database.",
            ) from None
        if self.is_postgresql:
            self._single = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        else:
            # For SQLite, to switch a connection to and fro costs more than a statement takes.
            self._single = create_async_engine(parsed, isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True)

            def configure(connection: Any, _record: Any) -> None:
                # SQLite lives in this process: its clock is the one that was passed in.
                connection.create_function("now_us", 0, lambda: microseconds(clock.now()))
                cursor = connection.cursor()
                cursor.execute("PRAGMA journal_mode=WAL")
                cursor.execute("PRAGMA synchronous=FULL")
                cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
                cursor.close()

            for engine in (self._engine, self._single):
                sqlalchemy.event.listen(engine.sync_engine, "connect", configure)

    async def migrate(self) -> None:
        """Bring the tables up to date. Raises `ConfigurationError` when a newer version has made them."""
        async with self.begin() as connection:
            await connection.run_sync(self._migrate)

    def _migrate(self, connection: sa.Connection) -> None:
        """Alembic only for what is left to migrate: to import it takes longer than to make all tables."""
        if self.is_postgresql:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        inspector = sa.inspect(connection)
        if not inspector.get_table_names():
            if not self.is_postgresql:
                connection.exec_driver_sql("BEGIN")  # Python's driver begins none for what makes tables
            metadata.create_all(connection, checkfirst=False)
            _versions.create(connection)
            connection.execute(_versions.insert().values(version_num=REVISION))
        elif not inspector.has_table(_versions.name) or connection.scalar(sa.select(_versions)) != REVISION:
            _upgrade(connection)

    async def close(self) -> None:
        """Close the connections."""
        await self._engine.dispose()
        await self._single.dispose()

    def upsert(self, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
        """An insert of this database's dialect, which can say what happens on a conflict."""
        return postgresql.insert(table) if self.is_postgresql else sqlite.insert(table)

    @contextlib.asynccontextmanager
    async def statement(self) -> AsyncGenerator[AsyncConnection]:
        """A connection for single statements, each of which counts at once: nothing is ever idle in a transaction."""
        with _mapped():
            async with self._single.connect() as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncGenerator[AsyncConnection]:
        """A transaction, for what must happen together."""
        with _mapped():
            async with self._engine.begin() as connection:
                yield connection


def _upgrade(connection: sa.Connection) -> None:
    import alembic.command
    import alembic.config
    import alembic.util

    config = alembic.config.Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    try:
        alembic.command.upgrade(config, "head")
    except alembic.util.CommandError as error:
        raise ConfigurationError(
            "The run store was made by a newer version of dxr-ingest.",
            "Run that version, or restore a copy of the store from before the upgrade.",
        ) from error


@contextlib.contextmanager
def _mapped() -> Generator[None]:
    """`IntegrityError` is left alone: it is an answer."""
    try:
        yield
    except IntegrityError:
        raise
    except (DBAPIError, SQLAlchemyError, OSError, TimeoutError) as error:
        raise StoreError(
            "STORE_UNAVAILABLE",
            f"The run store does not answer ({type(error).__name__}).",
            "Check DATABASE_URL or the volume of STATE_DIR; what runs goes on when it is back.",
        ) from error
