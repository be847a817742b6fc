"""The run store: every change of a run is one guarded statement, so that two writers can never both be right."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
import sqlalchemy.event
import uuid_utils
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine

from service.clock import as_text, microseconds
from service.errors import AlreadyActiveError, ErrorReport, NotFoundError, StoreError
from service.landing.attempts import Attempt
from service.runs.model import ACTIVE, Kind, Request, Run, State, predecessors
from service.runs.schema import runs

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from service.clock import Clock

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_BUSY_TIMEOUT_MS: Final = 10_000
_WAITING_FOR_RECEIPT: Final = (State.LANDED.value, State.PARTIAL.value)


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs a list shows; `cursor` is the id after which it goes on."""

    kind: str | None = None
    dataset: str | None = None
    state: str | None = None
    cursor: str | None = None


class RunStore:
    """Runs in a database. All methods raise `StoreError` when it does not answer."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._clock = clock
        self._engine = create_async_engine(url)
        if self._engine.dialect.name == "sqlite":
            sqlalchemy.event.listen(self._engine.sync_engine, "connect", _configure_sqlite)

    async def open(self) -> None:
        """Bring the tables up to date."""
        import alembic.command  # heavy, and needed once
        import alembic.config

        config = alembic.config.Config()
        config.set_main_option("script_location", str(_MIGRATIONS))

        def upgrade(connection: sa.Connection) -> None:
            config.attributes["connection"] = connection
            alembic.command.upgrade(config, "head")

        async with self.begin() as connection:
            await connection.run_sync(upgrade)

    async def close(self) -> None:
        """Close the connections."""
        await self._engine.dispose()

    async def ping(self) -> None:
        """Raises `StoreError` when the database does not answer."""
        async with self.begin() as connection:
            await connection.execute(sa.select(sa.literal(1)))

    async def create(self, request: Request) -> Run:
        """A new queued run. Raises `AlreadyActiveError` when the dataset has an active one."""
        row: dict[str, Any] = {
            "id": str(uuid_utils.uuid7()),
            **asdict(request),
            "state": State.QUEUED,
            "attempt": 0,
            "sequence": 0,
            "cancel_requested": False,
            "created_at": self._clock.now_text(),
            "progress": {},
            "counts": {},
        }
        try:
            return await self._change(runs.insert().values(row))
        except IntegrityError as error:
            active = await self._one(runs.c.dataset == request.dataset, runs.c.state.in_(_values(ACTIVE)))
            if active is None:  # it ended between the two statements
                raise StoreError("STORE_BUSY", "The run store was busy.", "Trigger again.") from error
            raise AlreadyActiveError(request.dataset, active.id) from error

    async def get(self, run_id: str) -> Run:
        """The run. Raises `NotFoundError`."""
        run = await self._one(runs.c.id == run_id)
        if run is None:
            raise NotFoundError(f"There is no run {run_id}.", "GET /v1/runs or `dxr-ingest runs list` shows them.")
        return run

    async def list(self, wanted: RunFilter, limit: int) -> list[Run]:
        """Runs, newest first; ids are UUIDv7, so their order is the order of creation."""
        query = sa.select(runs).order_by(runs.c.id.desc()).limit(limit)
        for column, value in (
            (runs.c.kind, wanted.kind),
            (runs.c.dataset, wanted.dataset),
            (runs.c.state, wanted.state),
        ):
            if value is not None:
                query = query.where(column == value)
        if wanted.cursor is not None:
            query = query.where(runs.c.id < wanted.cursor)
        return await self._all(query)

    async def queued(self) -> Sequence[Run]:
        """Runs that wait for someone to carry them out, oldest first."""
        return await self._all(sa.select(runs).where(runs.c.state == State.QUEUED).order_by(runs.c.id))

    async def left_running(self) -> Sequence[Run]:
        """Runs that a process that is gone left behind: asked before anything is started."""
        return await self._all(sa.select(runs).where(runs.c.state == State.RUNNING).order_by(runs.c.id))

    async def waiting_for_receipt(self) -> Sequence[Run]:
        """Published runs on which the Spark job has not spoken."""
        waiting = runs.c.state.in_(_WAITING_FOR_RECEIPT) & runs.c.receipt.is_(None)
        return await self._all(sa.select(runs).where(waiting).order_by(runs.c.id))

    async def count_by_state(self) -> dict[str, int]:
        """How many runs there are in each state."""
        async with self.begin() as connection:
            rows = await connection.execute(sa.select(runs.c.state, sa.func.count()).group_by(runs.c.state))
            return {state: count for state, count in rows}  # noqa: C416 - a row is no pair to the type checker

    async def claim(self, run_id: str) -> Run | None:
        """Take a queued run for this process; None when it is not queued any more."""
        started = sa.func.coalesce(runs.c.started_at, self._clock.now_text())
        return await self._move(run_id, State.RUNNING, started_at=started, cancel_requested=False)

    async def begin_attempt(self, run_id: str, newest_sequence: int) -> Attempt:
        """Count an attempt and give it its sequence: microseconds of now, above all that the dataset has had."""
        started_at = self._clock.now()
        async with self.begin() as connection:
            dataset = sa.select(runs.c.dataset).where(runs.c.id == run_id).scalar_subquery()
            newest = await connection.scalar(sa.select(sa.func.max(runs.c.sequence)).where(runs.c.dataset == dataset))
            sequence = max(microseconds(started_at), newest_sequence + 1, (newest or 0) + 1)
            number = await connection.scalar(
                runs.update()
                .where(runs.c.id == run_id, runs.c.state == State.RUNNING)
                .values(attempt=runs.c.attempt + 1, sequence=sequence)
                .returning(runs.c.attempt)
            )
        if number is None:
            raise StoreError("NOT_RUNNING", f"Run {run_id} is not running any more.", "Look at its state.")
        return Attempt(number, sequence, as_text(started_at))

    async def save_progress(self, run_id: str, progress: dict[str, Any]) -> None:
        """Keep what a running run tells."""
        async with self.begin() as connection:
            await connection.execute(
                runs.update().where(runs.c.id == run_id, runs.c.state == State.RUNNING).values(progress=progress)
            )

    async def hand_back(self, run_id: str) -> Run | None:
        """Put a running run back into the queue: its next attempt is another process's."""
        return await self._move(run_id, State.QUEUED)

    async def land(self, run_id: str, state: State, commit_path: str, counts: dict[str, Any]) -> Run | None:
        """Record that the commit is published."""
        return await self._end(run_id, state, commit_path=commit_path, counts=counts, error=None)

    async def fail(self, run_id: str, error: ErrorReport) -> Run | None:
        """Record why the run ended without a commit."""
        return await self._end(run_id, State.FAILED, error=asdict(error))

    async def cancel(self, run_id: str) -> Run | None:
        """End an active run as cancelled; None when it is not active any more."""
        return await self._end(run_id, State.CANCELLED)

    async def cancel_queued(self, run_id: str) -> Run | None:
        """End a run that nobody has begun; None when it is not queued."""
        queued = (runs.c.id == run_id) & (runs.c.state == State.QUEUED)
        ended = {"state": State.CANCELLED, "ended_at": self._clock.now_text()}
        return await self._maybe(runs.update().where(queued).values(**ended))

    async def request_cancel(self, run_id: str) -> Run | None:
        """Remember that a running run is asked to stop; None when it is not running."""
        running = (runs.c.id == run_id) & (runs.c.state == State.RUNNING)
        return await self._maybe(runs.update().where(running).values(cancel_requested=True))

    async def asked_to_stop(self) -> set[str]:
        """Ids of running runs that somebody, perhaps in another process, asked to stop."""
        async with self.begin() as connection:
            asked = (runs.c.state == State.RUNNING) & runs.c.cancel_requested
            return set((await connection.scalars(sa.select(runs.c.id).where(asked))).all())

    async def cancel_requested(self, run_id: str) -> bool:
        """Whether somebody asked the run to stop."""
        async with self.begin() as connection:
            return bool(await connection.scalar(sa.select(runs.c.cancel_requested).where(runs.c.id == run_id)))

    async def note_receipt(
        self, run: Run, receipt: dict[str, Any], counts: dict[str, Any], state: State, error: ErrorReport | None
    ) -> Run | None:
        """Record the Spark job's verdict; `state` is the run's new one, perhaps the same."""
        before = {run.state, *predecessors(state)} if state != run.state else {run.state}
        return await self._maybe(
            runs.update()
            .where(runs.c.id == run.id, runs.c.state.in_(_values(before)))
            .values(state=state, receipt=receipt, counts=counts, error=asdict(error) if error else None)
        )

    def upsert(self, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
        """An insert of this database's dialect, which can say what happens on a conflict."""
        return postgresql.insert(table) if self._engine.dialect.name == "postgresql" else sqlite.insert(table)

    async def _end(self, run_id: str, state: State, **values: Any) -> Run | None:
        return await self._move(run_id, state, ended_at=self._clock.now_text(), **values)

    async def _move(self, run_id: str, state: State, **values: Any) -> Run | None:
        allowed = (runs.c.id == run_id) & runs.c.state.in_(_values(predecessors(state)))
        return await self._maybe(runs.update().where(allowed).values(state=state, **values))

    async def _one(self, *conditions: sa.ColumnElement[bool]) -> Run | None:
        found = await self._all(sa.select(runs).where(*conditions))
        return found[0] if found else None

    async def _all(self, query: sa.Select[Any]) -> list[Run]:
        async with self.begin() as connection:
            return [_run(row) for row in (await connection.execute(query)).mappings()]

    async def _change(self, statement: sa.Insert) -> Run:
        async with self.begin() as connection:
            return _run((await connection.execute(statement.returning(runs))).mappings().one())

    async def _maybe(self, statement: sa.Update) -> Run | None:
        async with self.begin() as connection:
            row = (await connection.execute(statement.returning(runs))).mappings().one_or_none()
            return None if row is None else _run(row)

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncGenerator[AsyncConnection]:
        """A transaction. Raises `StoreError` when the database does not answer."""
        try:
            async with self._engine.begin() as connection:
                yield connection
        except IntegrityError:
            raise
        except (DBAPIError, OSError) as error:
            raise StoreError(
                "STORE_UNAVAILABLE",
                f"The run store does not answer ({type(error).__name__}).",
                "Check DATABASE_URL or the volume of STATE_DIR; what runs goes on when it is back.",
            ) from error


def _values(states: frozenset[State] | set[State] | list[State]) -> list[str]:
    return sorted(state.value for state in states)


def _run(row: sa.RowMapping) -> Run:
    request = Request(
        kind=Kind(row["kind"]),
        dataset=row["dataset"],
        ingestion_date=row["ingestion_date"],
        query=row["query"],
        record_cap=row["record_cap"],
        accept_shrunken=row["accept_shrunken"],
        trigger=row["trigger"],
        prefix=row["prefix"],
        full_scan=row["full_scan"],
    )
    return Run(
        id=row["id"],
        request=request,
        state=State(row["state"]),
        attempt=row["attempt"],
        sequence=row["sequence"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        progress=row["progress"],
        counts=row["counts"],
        error=ErrorReport(**row["error"]) if row["error"] else None,
        commit=row["commit_path"],
        receipt=row["receipt"],
    )


def _configure_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
    cursor.close()
