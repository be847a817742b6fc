"""Who carries out a run: leases by the database's clock, and fences that make a late writer's words void.

A claim raises the run's fence. Everything that a process writes about a run names the fence of its claim, so that a
process that was frozen while another one took over changes nothing. What it does outside of the database (a submit, a
put) it does only after `hold`, which proves that the lease is still its own and extends it.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from service.clock import as_text, from_microseconds
from service.errors import ErrorReport, LeaseLostError
from service.landing import layout
from service.landing.attempts import Attempt
from service.runs.database import now_us, whole
from service.runs.model import Kind, Run, State
from service.runs.schema import attempts, runs, slots
from service.runs.store import run_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from service.runs.database import Database

_CLAIMABLE = (runs.c.state == State.QUEUED) | ((runs.c.state == State.RUNNING) & (runs.c.lease_until_us < now_us()))

_others = runs.alias("others")


@dataclass(frozen=True, slots=True)
class Claims:
    """Gives out runs to this process; `owner` names it for people."""

    database: Database
    owner: str
    lease_s: float

    @whole
    async def claimable(self) -> Sequence[str]:
        """Ids of runs that nobody carries out, oldest first."""
        query = sa.select(runs.c.id).where(_CLAIMABLE).order_by(runs.c.id)
        async with self.database.statement() as connection:
            return (await connection.scalars(query)).all()

    @whole
    async def claim(self, run_id: str) -> Claim | None:
        """Take a run; None when somebody else has it or it has ended."""
        # A row that a frozen process has locked must not hold up the look at others.
        free = sa.select(runs.c.id).where(runs.c.id == run_id, _CLAIMABLE).with_for_update(skip_locked=True)
        taken_over = sa.case((runs.c.started_at.is_(None), 0), else_=1)
        claimed = (
            runs.update()
            .where(runs.c.id.in_(free))
            .values(
                state=State.RUNNING,
                owner=self.owner,
                fence=runs.c.fence + 1,
                lease_until_us=self.lease_end,
                takeovers=runs.c.takeovers + taken_over,
                started_at=sa.func.coalesce(runs.c.started_at, await self._now_text()),
            )
            .returning(runs)
        )
        async with self.database.statement() as connection:
            row = (await connection.execute(claimed)).mappings().one_or_none()
        return None if row is None else Claim(self, run_of(row), row["fence"], row["takeovers"], row["failed_attempts"])

    @whole
    async def release_all(self) -> None:
        """End every lease: only for whoever knows that all other processes are gone (the lock of SQLite says so)."""
        async with self.database.begin() as connection:
            await connection.execute(runs.update().where(runs.c.state == State.RUNNING).values(lease_until_us=0))
            await connection.execute(slots.delete())

    @property
    def lease_end(self) -> sa.ColumnElement[int]:
        """When a lease that begins now ends."""
        return now_us() + round(self.lease_s * 1_000_000)

    async def _now_text(self) -> str:
        async with self.database.statement() as connection:
            return as_text(from_microseconds(await connection.scalar(sa.select(now_us())) or 0))


@dataclass(frozen=True, slots=True)
class Claim:
    """One run in the hands of this process.

    All methods raise `LeaseLostError` when it is not any more, and `StoreError`.
    """

    claims: Claims
    run: Run
    fence: int
    takeovers: int
    failed_attempts: int

    @whole
    async def hold(self, publishing: str | None = None) -> bool:
        """Prove that the run is still ours and extend the lease; whether it is asked to stop.

        `publishing` is the commit that is put next.
        """
        values = {"publishing": publishing} if publishing else {}
        async with self.claims.database.begin() as connection:
            asked = await self._extend(connection, **values)
            mine = (slots.c.run_id == self.run.id) & (slots.c.fence == self.fence)
            await connection.execute(slots.update().where(mine).values(lease_until_us=self.claims.lease_end))
        return asked

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncGenerator[AsyncConnection]:
        """A transaction that counts only if the run is still ours."""
        async with self.claims.database.begin() as connection:
            await self._extend(connection)
            yield connection

    @whole
    async def begin_attempt(self, newest_sequence: int) -> Attempt:
        """Count an attempt and give it its sequence: microseconds of now, above all that the dataset has had.

        The attempts of a classification share the sequence of the first: what was landed before goes on to count. So
        does an attempt whose predecessor had begun to publish: one of them will find the name taken.
        """
        async with self.writing() as connection:
            row = (
                (
                    await connection.execute(
                        sa.select(
                            now_us().label("now"),
                            runs.c.attempt,
                            runs.c.sequence,
                            runs.c.started_at,
                            runs.c.publishing,
                            sa.select(sa.func.max(_others.c.sequence))
                            .where(_others.c.dataset == self.run.request.dataset)
                            .scalar_subquery()
                            .label("newest"),
                        ).where(runs.c.id == self.run.id)
                    )
                )
                .mappings()
                .one()
            )
            started_at, number = as_text(from_microseconds(row["now"])), row["attempt"] + 1
            sequence = max(row["now"], newest_sequence + 1, (row["newest"] or 0) + 1)
            if self.run.request.kind is Kind.CLASSIFICATION and number > 1:
                sequence, started_at = row["sequence"], row["started_at"]
            elif row["publishing"] and (name := layout.CommitName.parse(row["publishing"])):
                # A commit of an earlier attempt may still be on its way: under one name only one of the two can exist.
                sequence = name.sequence
            await connection.execute(self._own.values(attempt=number, sequence=sequence))
            await connection.execute(
                attempts.insert().values(
                    run_id=self.run.id,
                    number=number,
                    fence=self.fence,
                    owner=self.claims.owner,
                    sequence=sequence,
                    started_at=as_text(from_microseconds(row["now"])),
                )
            )
        return Attempt(number, sequence, started_at)

    @whole
    async def attempt_failed(self, code: str) -> None:
        """Write down why the attempt that goes on ended, if there is one."""
        async with self.writing() as connection:
            ended = (
                attempts.update()
                .where(attempts.c.run_id == self.run.id, attempts.c.fence == self.fence, attempts.c.ended_at.is_(None))
                .values(ended_at=await self._now(connection), code=code)
            )
            if (await connection.execute(ended)).rowcount:
                await connection.execute(self._own.values(failed_attempts=runs.c.failed_attempts + 1))

    @whole
    async def save_progress(self, progress: dict[str, Any]) -> None:
        """Keep what a running run tells."""
        async with self.claims.database.statement() as connection:
            await connection.execute(self._own.values(progress=progress))

    @whole
    async def occupy(self, datasource_id: str) -> bool:
        """Take a datasource for the run's jobs; False while another run has it."""
        async with self.writing() as connection:
            row = {"run_id": self.run.id, "fence": self.fence, "lease_until_us": self.claims.lease_end}
            insert = self.claims.database.upsert(slots).values(datasource_id=datasource_id, **row)
            free = (slots.c.lease_until_us < now_us()) | (slots.c.run_id == self.run.id)
            taken = insert.on_conflict_do_update(index_elements=[slots.c.datasource_id], set_=row, where=free)
            return (await connection.execute(taken.returning(slots.c.datasource_id))).one_or_none() is not None

    async def land(self, state: State, commit_path: str, counts: dict[str, Any]) -> Run:
        """Record that the commit is published."""
        return await self._end(state, "", commit_path=commit_path, counts=counts, error=None)

    async def fail(self, error: ErrorReport) -> Run:
        """Record why the run ended without a commit."""
        return await self._end(State.FAILED, error.code, error=asdict(error))

    async def cancel(self) -> Run:
        """End the run as cancelled."""
        return await self._end(State.CANCELLED, "CANCELLED")

    async def hand_back(self) -> Run:
        """Put the run back into the queue: its next attempt is another process's."""
        return await self._leave({"state": State.QUEUED})

    async def _end(self, state: State, code: str, **values: Any) -> Run:
        return await self._leave({"state": state, **values}, code)

    @whole
    async def _leave(self, values: dict[str, Any], code: str | None = None) -> Run:
        async with self.claims.database.begin() as connection:
            at = await self._now(connection)
            if code is not None:
                values = {**values, "ended_at": at}
                open_attempt = (attempts.c.run_id == self.run.id) & attempts.c.ended_at.is_(None)
                await connection.execute(attempts.update().where(open_attempt).values(ended_at=at, code=code))
            values = {**values, "owner": None, "lease_until_us": 0}
            row = (await connection.execute(self._own.values(**values).returning(runs))).mappings().one_or_none()
            if row is None:
                raise LeaseLostError(self.run.id)
            await connection.execute(slots.delete().where(slots.c.run_id == self.run.id, slots.c.fence == self.fence))
            return run_of(row)

    @property
    def _own(self) -> sa.Update:
        return runs.update().where(runs.c.id == self.run.id, runs.c.fence == self.fence, runs.c.state == State.RUNNING)

    async def _extend(self, connection: AsyncConnection, **values: Any) -> bool:
        """A lease that has run out is lost even if nobody took the run: its datasources may be another's by now."""
        held = self._own.where(runs.c.lease_until_us >= now_us())
        extended = held.values(lease_until_us=self.claims.lease_end, **values).returning(runs.c.cancel_requested)
        asked = (await connection.execute(extended)).scalar_one_or_none()
        if asked is None:
            raise LeaseLostError(self.run.id)
        return bool(asked)

    async def _now(self, connection: AsyncConnection) -> str:
        return as_text(from_microseconds(await connection.scalar(sa.select(now_us())) or 0))
