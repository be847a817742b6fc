"""The run store for everybody: triggers, lists, cancels, receipts. What carries out a run writes through its claim."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
import sqlalchemy as sa
import uuid_utils
from sqlalchemy.exc import IntegrityError

from service.errors import AlreadyActiveError, BusyError, ErrorReport, NotFoundError, RefusedError, StoreError
from service.runs.database import now_us, whole
from service.runs.model import ACTIVE, Kind, Request, Run, State, predecessors
from service.runs.schema import attempts, batches, chunks, files, idempotency_keys, runs, slots

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from service.clock import Clock
    from service.runs.database import Database

# Databases bound the number of parameters of a statement.
_IDS_AT_ONCE_MAX: Final = 500
_TRIES_MAX: Final = 5
_DAY_US: Final = 24 * 3600 * 1_000_000
_WAITING_FOR_RECEIPT: Final = (State.LANDED.value, State.PARTIAL.value)


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs a list shows; `cursor` is the id after which it goes on."""

    kind: str | None = None
    dataset: str | None = None
    state: str | None = None
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """What a caller named its request with, as hashes: `scope` of caller, route and key, `body` of what was asked."""

    scope: str
    body: str

    @classmethod
    def of(cls, caller: str, route: str, key: str, body: object) -> IdempotencyKey:
        """The key of a parsed body: other white space or order of fields is the same request."""
        encoded = msgspec.json.encode(body, order="sorted")
        scope = msgspec.json.encode([caller, route, key])
        return cls(hashlib.sha256(scope).hexdigest(), hashlib.sha256(encoded).hexdigest())


class RunStore:
    """Runs in a database. All methods raise `StoreError` when it does not answer."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self._clock = clock

    @whole
    async def ping(self) -> None:
        """Raises `StoreError` when the database does not answer."""
        async with self.database.statement() as connection:
            await connection.execute(sa.select(sa.literal(1)))

    @whole
    async def create(self, request: Request, key: IdempotencyKey | None = None, active_max: int | None = None) -> Run:
        """A new queued run, or the one that the same key made within the last day.

        Raises `AlreadyActiveError` when the dataset has an active one, `BusyError` when `active_max` others are active,
        `RefusedError` (`UNPROCESSABLE`) when the key was used for another body. None of it is remembered for the key.
        """
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
        if key is not None and (before := await self._run_of_key(key)):
            return before
        for _ in range(_TRIES_MAX):
            active = await self._one(runs.c.dataset == request.dataset, runs.c.state.in_(_values(ACTIVE)))
            if active is None:
                with contextlib.suppress(IntegrityError):  # another one was quicker, and may have ended by now
                    return await self._insert(row, key, active_max)
            if key is not None and (before := await self._run_of_key(key)):
                return before
            if active is not None:
                raise AlreadyActiveError(request.dataset, active.id)
        raise StoreError("STORE_BUSY", "The run store was busy.", "Trigger again.")

    async def _insert(self, row: dict[str, Any], key: IdempotencyKey | None, active_max: int | None) -> Run:
        async with self.database.begin() as connection:
            if key is not None:
                old = idempotency_keys.c.created_us < now_us() - _DAY_US
                await connection.execute(idempotency_keys.delete().where(old))
                known = {"scope": key.scope, "body": key.body, "run_id": row["id"], "created_us": now_us()}
                await connection.execute(idempotency_keys.insert().values(**known))
            created = (await connection.execute(runs.insert().values(row).returning(runs))).mappings().one()
            if active_max is not None:
                active = sa.select(sa.func.count()).where(runs.c.state.in_(_values(ACTIVE)))
                if (await connection.scalar(active) or 0) > active_max:
                    raise BusyError("TOO_MANY_RUNS", f"There are {active_max} active runs already.", "Try again later.")
            return run_of(created)

    @whole
    async def _run_of_key(self, key: IdempotencyKey) -> Run | None:
        keys = idempotency_keys.c
        query = (
            sa.select(keys.body, runs)
            .join_from(idempotency_keys, runs, keys.run_id == runs.c.id)
            .where(keys.scope == key.scope, keys.created_us >= now_us() - _DAY_US)
        )
        async with self.database.statement() as connection:
            known = (await connection.execute(query)).mappings().one_or_none()
        if known is None:
            return None
        if known["body"] != key.body:
            raise RefusedError(
                "UNPROCESSABLE",
                "This Idempotency-Key was used for another request within the last 24 hours.",
                "Use a new key for a new request.",
            )
        return run_of(known)

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

    async def waiting_for_receipt(self) -> Sequence[Run]:
        """Published runs on which the Spark job has not spoken."""
        waiting = runs.c.state.in_(_WAITING_FOR_RECEIPT) & runs.c.receipt.is_(None)
        return await self._all(sa.select(runs).where(waiting).order_by(runs.c.id))

    @whole
    async def count_by_state(self) -> dict[str, int]:
        """How many runs there are in each state."""
        async with self.database.statement() as connection:
            rows = await connection.execute(sa.select(runs.c.state, sa.func.count()).group_by(runs.c.state))
            return {state: count for state, count in rows}  # noqa: C416 - a row is no pair to the type checker

    @whole
    async def busy_datasources(self) -> int:
        """How many classifier datasources runs hold now."""
        held = sa.select(sa.func.count()).select_from(slots).where(slots.c.lease_until_us >= now_us())
        async with self.database.statement() as connection:
            return await connection.scalar(held) or 0

    @whole
    async def ended(self, run_ids: Collection[str]) -> dict[str, bool]:
        """Which of these runs are here: True for one that has ended, False for one that is queued or running."""
        ids, found = sorted(run_ids), dict[str, bool]()
        async with self.database.statement() as connection:
            for start in range(0, len(ids), _IDS_AT_ONCE_MAX):
                wanted = runs.c.id.in_(ids[start : start + _IDS_AT_ONCE_MAX])
                rows = await connection.execute(sa.select(runs.c.id, runs.c.state).where(wanted))
                found |= {run_id: state not in ACTIVE for run_id, state in rows}
        return found

    async def abandon(self, run_id: str, error: ErrorReport) -> None:
        """End a run that a process which is gone has left: only for whoever is alone on the store."""
        active = (runs.c.id == run_id) & runs.c.state.in_(_values(ACTIVE))
        ended = {"state": State.FAILED, "ended_at": self._clock.now_text(), "error": asdict(error)}
        await self._maybe(runs.update().where(active).values(**ended))

    async def cancel_queued(self, run_id: str) -> Run | None:
        """End a run that nobody has begun; None when it is not queued."""
        queued = (runs.c.id == run_id) & (runs.c.state == State.QUEUED)
        ended = {"state": State.CANCELLED, "ended_at": self._clock.now_text()}
        return await self._maybe(runs.update().where(queued).values(**ended))

    async def request_cancel(self, run_id: str) -> Run | None:
        """Remember that a running run is asked to stop; None when it is not running."""
        running = (runs.c.id == run_id) & (runs.c.state == State.RUNNING)
        return await self._maybe(runs.update().where(running).values(cancel_requested=True))

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

    @whole
    async def unsure(self) -> Sequence[tuple[Run, str]]:
        """Runs that ended without a commit while one was on its way, with its path: only the landing knows."""
        ended = runs.c.state.in_([State.FAILED.value, State.CANCELLED.value])
        query = sa.select(runs).where(ended, runs.c.publishing.is_not(None), runs.c.receipt.is_(None))
        async with self.database.statement() as connection:
            return [(run_of(row), row["publishing"]) for row in (await connection.execute(query)).mappings()]

    async def settle(self, run_id: str, landed: tuple[State, dict[str, Any]] | None) -> None:
        """Write down what the landing said about such a run: landed with these counts, or that there is no commit."""
        unsure = (runs.c.id == run_id) & runs.c.publishing.is_not(None) & runs.c.commit_path.is_(None)
        values: dict[str, Any] = {"publishing": None}
        if landed is not None:
            values = {"state": landed[0], "counts": landed[1], "error": None, "commit_path": runs.c.publishing}
        await self._maybe(runs.update().where(unsure).values(**values))

    @whole
    async def attempts_of(self, run_id: str) -> list[dict[str, Any]]:
        """The attempts of a run, the first one first: number, start, end and code (null: its process ended with it)."""
        shown = (attempts.c.number, attempts.c.started_at, attempts.c.ended_at, attempts.c.code)
        query = sa.select(*shown).where(attempts.c.run_id == run_id).order_by(attempts.c.number)
        async with self.database.statement() as connection:
            return [dict(row) for row in (await connection.execute(query)).mappings()]

    @whole
    async def forget(self, ended_before: str) -> int:
        """Remove runs that ended before that time (ISO 8601) and what is kept of them; how many.

        Runs that wait for a receipt stay, and those by which it is known what became of a file.
        """
        working = sa.select(runs.c.id).where(runs.c.state.in_(_values(ACTIVE)))
        known = sa.union(
            *(sa.select(column).where(column.is_not(None)) for column in (files.c.labelled_run, files.c.deleted_run))
        )
        old = (
            (runs.c.ended_at < ended_before)
            & runs.c.state.not_in(_values(ACTIVE) + list(_WAITING_FOR_RECEIPT))
            & runs.c.id.not_in(known)
        )
        async with self.database.begin() as connection:
            gone = (await connection.execute(runs.delete().where(old))).rowcount
            left = sa.select(runs.c.id)
            await connection.execute(attempts.delete().where(attempts.c.run_id.not_in(left)))
            # What a taken-over run needs is of no use once it has ended.
            for table in (batches, chunks):
                await connection.execute(table.delete().where(table.c.run_id.not_in(working)))
        return gone

    async def _one(self, *conditions: sa.ColumnElement[bool]) -> Run | None:
        found = await self._all(sa.select(runs).where(*conditions))
        return found[0] if found else None

    @whole
    async def _all(self, query: sa.Select[Any]) -> list[Run]:
        async with self.database.statement() as connection:
            return [run_of(row) for row in (await connection.execute(query)).mappings()]

    @whole
    async def _maybe(self, statement: sa.Update) -> Run | None:
        async with self.database.statement() as connection:
            row = (await connection.execute(statement.returning(runs))).mappings().one_or_none()
            return None if row is None else run_of(row)


def _values(states: frozenset[State] | set[State] | list[State]) -> list[str]:
    return sorted(state.value for state in states)


def run_of(row: sa.RowMapping) -> Run:
    """The run of a row of `runs`."""
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
        progress=request.scope | row["progress"],
        counts=row["counts"],
        error=ErrorReport(**row["error"]) if row["error"] else None,
        commit=row["commit_path"],
        receipt=row["receipt"],
    )
