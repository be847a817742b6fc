"""The run store on real databases: a SQLite file, and a PostgreSQL server."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import alembic.command
import pytest
import pytest_asyncio
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory

import service.runs.migrations
from service.clock import SystemClock, as_text
from service.errors import (
    AlreadyActiveError,
    BusyError,
    ConfigurationError,
    ErrorReport,
    LeaseLostError,
    NotFoundError,
    RefusedError,
    StoreError,
    exit_code,
)
from service.runs.claims import Claims
from service.runs.database import Database
from service.runs.lock import held_state_dir
from service.runs.model import Kind, Request, State
from service.runs.schema import REVISION
from service.runs.schema import runs as runs_table
from service.runs.store import IdempotencyKey, RunFilter, RunStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.runs.claims import Claim
    from tests.postgres import Postgres

MIGRATIONS = Path(service.runs.migrations.__file__).parent
ASKED = Request(Kind.SNAPSHOT, "file_metadata", "2026-11-22", None, None, accept_shrunken=False, trigger="test")
LABELS = replace(ASKED, kind=Kind.CLASSIFICATION, dataset="dxr_metadata")
REPORT = ErrorReport("CODE", "what", "do", retryable=True)


@dataclass
class Stored:
    """A store, and the claims of two processes on it."""

    store: RunStore
    claims: Claims
    others: Claims

    async def claimed(self, request: Request = ASKED) -> Claim:
        claim = await self.claims.claim((await self.store.create(request)).id)
        assert claim is not None
        return claim

    async def expire(self) -> None:
        """Let every lease run out, as time does."""
        async with self.store.database.begin() as connection:
            await connection.execute(runs_table.update().values(lease_until_us=1))


@pytest_asyncio.fixture(params=["sqlite", "postgresql"])
async def stored(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stored]:
    url = f"sqlite+aiosqlite:///{tmp_path}/runs.sqlite"
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.new_database().replace("postgresql://", "postgresql+asyncpg://")
    database = Database(url, SystemClock())
    await database.migrate()
    yield Stored(RunStore(database, SystemClock()), Claims(database, "one", 60), Claims(database, "other", 60))
    await database.close()


@pytest.fixture
def store(stored: Stored) -> RunStore:
    return stored.store


@pytest.mark.parametrize("revision", ["0001", "0002", "0003"])
async def test_a_store_of_an_older_version_gets_the_tables_of_a_new_one(stored: Stored, revision: str) -> None:
    database = stored.store.database
    async with database.begin() as connection:
        new = await connection.run_sync(_tables)
        await connection.run_sync(_made_anew, revision)
        assert await connection.run_sync(_tables) != new
    await database.migrate()
    async with database.begin() as connection:
        assert await connection.run_sync(_tables) == new
    await database.migrate()


def test_the_revision_of_a_new_store_is_the_newest() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == REVISION


def _tables(connection: sa.Connection) -> dict[str, object]:
    """Everything that makes the tables what they are, but the order of their columns."""
    inspector = sa.inspect(connection)
    return {
        name: (
            {column["name"]: str(column) for column in inspector.get_columns(name)},
            inspector.get_pk_constraint(name),
            {
                index["name"]: (index["column_names"], index["unique"], [*map(str, index["dialect_options"].values())])
                for index in inspector.get_indexes(name)
            },
            connection.execute(sa.text(f"SELECT * FROM {name}")).all() if name == "alembic_version" else None,
        )
        for name in inspector.get_table_names()
    }


def _made_anew(connection: sa.Connection, revision: str) -> None:
    """By the migrations of an older version, which are never changed."""
    found = sa.MetaData()
    found.reflect(connection)
    found.drop_all(connection)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    alembic.command.upgrade(config, revision)


async def test_replicas_that_start_together_migrate_once(postgres: Postgres) -> None:
    url = postgres.new_database().replace("postgresql://", "postgresql+asyncpg://")
    databases = [Database(url, SystemClock()) for _ in range(3)]
    await asyncio.gather(*(database.migrate() for database in databases))
    for database in databases:
        await RunStore(database, SystemClock()).ping()
        await database.close()


async def test_a_store_of_a_newer_version_is_refused_with_the_way_out(stored: Stored) -> None:
    async with stored.store.database.begin() as connection:
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="newer version"):
        await stored.store.database.migrate()


async def test_one_active_run_per_dataset_whoever_asks(store: RunStore) -> None:
    outcomes = await asyncio.gather(*(store.create(ASKED) for _ in range(20)), return_exceptions=True)
    created = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert len(created) == 1
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert {error.run_id for error in refused if isinstance(error, AlreadyActiveError)} == {created[0].id}
    assert len(refused) == 19
    await store.create(replace(ASKED, dataset="another"))
    await store.cancel_queued(created[0].id)
    await store.create(ASKED)


class TestClaims:
    async def test_one_process_gets_a_run(self, stored: Stored) -> None:
        run = await stored.store.create(ASKED)
        both = [stored.claims, stored.others]
        claims = await asyncio.gather(*(both[n % 2].claim(run.id) for n in range(10)))
        assert sum(claim is not None for claim in claims) == 1
        assert await stored.claims.claimable() == []

    async def test_a_lease_that_ran_out_is_taken_over_and_its_owner_can_do_no_harm(self, stored: Stored) -> None:
        first = await stored.claimed()
        await first.begin_attempt(0)
        assert await stored.others.claim(first.run.id) is None
        await stored.expire()
        assert await stored.others.claimable() == [first.run.id]
        second = await stored.others.claim(first.run.id)
        assert second is not None
        assert (second.fence, second.takeovers) == (first.fence + 1, 1)
        for write in (
            first.hold(),
            first.hold(publishing="commits/x.json"),
            first.begin_attempt(0),
            first.attempt_failed("CODE"),
            first.land(State.LANDED, "commits/x.json", {}),
            first.fail(REPORT),
            first.cancel(),
            first.hand_back(),
            first.occupy("11"),
        ):
            with pytest.raises(LeaseLostError):
                await write
        await first.save_progress({"rows": 1})
        run = await stored.store.get(first.run.id)
        assert (run.state, run.attempt, run.progress, run.commit) == (State.RUNNING, 1, {}, None)
        assert (await second.begin_attempt(0)).number == 2
        assert (await second.land(State.LANDED, "commits/y.json", {"rows": 1})).commit == "commits/y.json"

    async def test_a_lease_that_ran_out_is_lost_even_if_nobody_took_it(self, stored: Stored) -> None:
        claim = await stored.claimed()
        await stored.expire()
        with pytest.raises(LeaseLostError):
            await claim.hold()
        again = await stored.claims.claim(claim.run.id)
        assert again is not None

    async def test_holding_extends_the_lease_and_tells_of_a_cancel(self, stored: Stored) -> None:
        claim = await stored.claimed()
        assert not await claim.hold()
        await stored.store.request_cancel(claim.run.id)
        assert await claim.hold()
        assert (await claim.cancel()).state is State.CANCELLED
        assert await stored.store.request_cancel(claim.run.id) is None

    async def test_an_ended_run_has_no_owner_and_no_second_end(self, stored: Stored) -> None:
        claim = await stored.claimed()
        await claim.begin_attempt(0)
        failed = await claim.fail(REPORT)
        assert (failed.state, failed.error) == (State.FAILED, REPORT)
        assert failed.ended_at is not None
        assert await stored.claims.claim(claim.run.id) is None
        with pytest.raises(LeaseLostError):
            await claim.land(State.LANDED, "commits/x.json", {})
        [attempt] = await stored.store.attempts_of(claim.run.id)
        assert (attempt["number"], attempt["code"], attempt["ended_at"]) == (1, "CODE", failed.ended_at)

    async def test_what_is_handed_back_is_taken_at_once(self, stored: Stored) -> None:
        claim = await stored.claimed()
        assert (await claim.hand_back()).state is State.QUEUED
        taken = await stored.others.claim(claim.run.id)
        assert taken is not None
        assert taken.takeovers == 1

    async def test_attempts_that_failed_are_counted_apart_from_those_that_ended_with_their_process(
        self, stored: Stored
    ) -> None:
        claim = await stored.claimed()
        for _ in range(2):
            await claim.begin_attempt(0)
            await claim.attempt_failed("STREAM_CUT")
        await claim.begin_attempt(0)
        await stored.expire()
        taken = await stored.others.claim(claim.run.id)
        assert taken is not None
        assert (taken.failed_attempts, taken.takeovers) == (2, 1)
        await taken.begin_attempt(0)
        codes = [attempt["code"] for attempt in await stored.store.attempts_of(claim.run.id)]
        assert codes == ["STREAM_CUT", "STREAM_CUT", None, None]

    async def test_sequences_rise_and_a_classification_keeps_its_own(self, stored: Stored) -> None:
        claim = await stored.claimed()
        first = await claim.begin_attempt(0)
        second = await claim.begin_attempt(10**17)
        third = await claim.begin_attempt(0)
        assert [first.number, second.number, third.number] == [1, 2, 3]
        assert (second.sequence, third.sequence) == (10**17 + 1, 10**17 + 2)
        await claim.cancel()
        assert (await (await stored.claimed()).begin_attempt(0)).sequence == 10**17 + 3
        labels = await stored.claimed(LABELS)
        one, two = await labels.begin_attempt(0), await labels.begin_attempt(0)
        assert one.sequence == two.sequence
        assert two.started_at == (await stored.store.get(labels.run.id)).started_at
        assert two.number == 2

    async def test_an_attempt_after_one_that_was_publishing_takes_its_name(self, stored: Stored) -> None:
        claim = await stored.claimed()
        first = await claim.begin_attempt(0)
        await claim.hold(publishing=f"commits/file_metadata.{first.sequence:020d}.{claim.run.id}.json")
        await claim.attempt_failed("LANDING_UNAVAILABLE")
        second = await claim.begin_attempt(0)
        assert (second.sequence, second.number) == (first.sequence, 2)

    async def test_a_datasource_is_one_runs(self, stored: Stored) -> None:
        one, other = await stored.claimed(LABELS), await stored.claimed(replace(LABELS, dataset="others"))
        assert await one.occupy("11")
        assert await one.occupy("11")
        assert not await other.occupy("11")
        assert await other.occupy("12")
        await one.cancel()
        assert await other.occupy("11")


class TestIdempotencyKeys:
    KEY = IdempotencyKey.of("ops", "snapshots", "k1", {"dataset": None, "query": None})

    async def test_the_same_request_is_the_same_run(self, store: RunStore) -> None:
        outcomes = await asyncio.gather(*(store.create(ASKED, self.KEY) for _ in range(10)))
        assert len({run.id for run in outcomes}) == 1
        await store.cancel_queued(outcomes[0].id)
        assert (await store.create(ASKED, self.KEY)).state is State.CANCELLED

    async def test_another_body_is_refused_and_another_caller_route_or_key_is_another_request(
        self, store: RunStore
    ) -> None:
        await store.create(ASKED, self.KEY)
        with pytest.raises(RefusedError) as caught:
            await store.create(ASKED, IdempotencyKey.of("ops", "snapshots", "k1", {"dataset": "x", "query": None}))
        assert caught.value.code == "UNPROCESSABLE"
        body = {"query": None, "dataset": None}
        assert IdempotencyKey.of("ops", "snapshots", "k1", body) == self.KEY
        for other in (("dev", "snapshots", "k1"), ("ops", "classifications", "k1"), ("ops", "snapshots", "k2")):
            with pytest.raises(AlreadyActiveError):
                await store.create(ASKED, IdempotencyKey.of(*other, body))

    async def test_a_refusal_is_not_remembered(self, store: RunStore) -> None:
        active = await store.create(ASKED)
        with pytest.raises(AlreadyActiveError):
            await store.create(ASKED, self.KEY)
        await store.cancel_queued(active.id)
        created = await store.create(ASKED, self.KEY)
        assert (created.state, created.id == active.id) == (State.QUEUED, False)

    async def test_a_day_later_it_is_a_new_request(self, store: RunStore) -> None:
        from service.runs.schema import idempotency_keys

        first = await store.create(ASKED, self.KEY)
        await store.cancel_queued(first.id)
        async with store.database.begin() as connection:
            day = idempotency_keys.c.created_us - 24 * 3600 * 1_000_000 - 1
            await connection.execute(idempotency_keys.update().values(created_us=day))
        assert (await store.create(ASKED, self.KEY)).id != first.id


class TestHistory:
    async def test_old_runs_are_forgotten_but_for_those_that_are_needed(self, stored: Stored) -> None:
        from service.runs.schema import files

        ended: dict[str, str] = {}
        for dataset in ("failed", "waiting", "labelled", "active"):
            claim = await stored.claimed(replace(LABELS, dataset=dataset))
            await claim.begin_attempt(0)
            if dataset == "failed":
                await claim.fail(REPORT)
            elif dataset != "active":
                await claim.land(State.LANDED, "commits/x.json", {})
            ended[dataset] = claim.run.id
        labelled = await stored.store.get(ended["labelled"])
        await stored.store.note_receipt(labelled, {}, {}, State.INGESTED, None)
        async with stored.store.database.begin() as connection:
            await connection.execute(
                files.insert().values(
                    volume="v", path="p", size_bytes=1, modified_ms=1, seen_run=labelled.id, labelled_run=labelled.id
                )
            )
        tomorrow = as_text(dt.datetime.now(dt.UTC) + dt.timedelta(days=1))
        assert await stored.store.forget(as_text(dt.datetime.now(dt.UTC) - dt.timedelta(days=1))) == 0
        assert await stored.store.forget(tomorrow) == 1
        left = {run.request.dataset for run in await stored.store.list(RunFilter(), 10)}
        assert left == {"waiting", "labelled", "active"}
        assert await stored.store.attempts_of(ended["failed"]) == []
        assert len(await stored.store.attempts_of(ended["waiting"])) == 1

    async def test_a_commit_that_was_on_its_way_has_the_last_word(self, stored: Stored) -> None:
        claim = await stored.claimed()
        await claim.hold(publishing="commits/x.json")
        await claim.fail(REPORT)
        [(run, path)] = await stored.store.unsure()
        assert (run.id, path) == (claim.run.id, "commits/x.json")
        await stored.store.settle(run.id, (State.LANDED, {"rows": 3}))
        landed = await stored.store.get(run.id)
        assert (landed.state, landed.commit, landed.counts, landed.error) == (
            State.LANDED,
            "commits/x.json",
            {"rows": 3},
            None,
        )
        assert await stored.store.unsure() == []


async def test_active_runs_are_bounded(store: RunStore) -> None:
    key = IdempotencyKey.of("ops", "snapshots", "1", {})
    first = await store.create(ASKED, key, active_max=2)
    await store.create(replace(ASKED, dataset="b"), active_max=2)
    third = IdempotencyKey.of("ops", "snapshots", "3", {})
    with pytest.raises(BusyError) as caught:
        await store.create(replace(ASKED, dataset="c"), third, active_max=2)
    assert (caught.value.retryable, exit_code(caught.value.code)) == (True, 5)
    assert (await store.create(ASKED, key, active_max=2)).id == first.id  # a repeat makes no run
    with pytest.raises(AlreadyActiveError):
        await store.create(ASKED, active_max=2)
    await store.cancel_queued(first.id)
    made = await store.create(replace(ASKED, dataset="c"), third, active_max=2)  # the refusal is not remembered
    assert {run.id for run in await store.list(RunFilter(state="queued"), 10)} >= {made.id}


async def test_a_trigger_at_the_end_of_a_run_is_told_something_definite(store: RunStore) -> None:
    async def trigger() -> str:
        try:
            return (await store.create(ASKED)).id
        except AlreadyActiveError as active:
            return active.run_id

    async def end(run_id: str) -> None:
        await store.cancel_queued(run_id)

    run_id = await trigger()
    for _ in range(50):
        *told, _end = await asyncio.gather(trigger(), trigger(), trigger(), end(run_id))
        assert all(told)
        run_id = await trigger()


async def test_a_thousand_repeats_of_a_key_make_one_run(store: RunStore) -> None:
    key = IdempotencyKey.of("ops", "snapshots", "1", {})
    made = [run.id for _ in range(20) for run in await asyncio.gather(*(store.create(ASKED, key) for _ in range(50)))]
    assert (len(made), len(set(made))) == (1000, 1)
    assert len(await store.list(RunFilter(), 10)) == 1


async def test_lists_are_newest_first_with_a_cursor(store: RunStore) -> None:
    for number in range(5):
        await store.create(replace(ASKED, dataset=f"d{number}"))
    first = await store.list(RunFilter(), 2)
    rest = await store.list(RunFilter(cursor=first[-1].id), 10)
    assert [run.request.dataset for run in first + rest] == ["d4", "d3", "d2", "d1", "d0"]
    assert [run.request.dataset for run in await store.list(RunFilter(dataset="d2"), 10)] == ["d2"]
    assert await store.list(RunFilter(state="running"), 10) == []


async def test_there_is_no_such_run(store: RunStore) -> None:
    with pytest.raises(NotFoundError):
        await store.get("01a202e6-4fb4-77e4-a088-2c935f55c4b6")


@pytest.mark.parametrize(
    "url",
    # pragma: allowlist nextline secret
    ["sqlite+aiosqlite:///{}/no/such/folder/runs.sqlite", "postgresql+asyncpg://u:secret@127.0.0.1:9/x"],
)
async def test_a_store_that_is_away_is_an_error_with_advice(url: str, tmp_path: Path) -> None:
    database = Database(url.format(tmp_path), SystemClock())
    with pytest.raises(StoreError, match="does not answer") as caught:
        await RunStore(database, SystemClock()).ping()
    assert caught.value.hint
    assert "secret" not in f"{caught.value} {caught.value.hint}"
    await database.close()
    # aiosqlite's thread of a connection that failed still answers to this loop: let it end before the loop does.
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:
            await asyncio.to_thread(thread.join, 10)


async def test_a_database_that_comes_back_is_used_again(postgres: Postgres) -> None:
    database = Database(postgres.new_database().replace("postgresql://", "postgresql+asyncpg://"), SystemClock())
    await database.migrate()
    store = RunStore(database, SystemClock())
    created = await store.create(ASKED)
    await asyncio.to_thread(postgres.stop)
    try:
        with pytest.raises(StoreError):
            await store.get(created.id)
    finally:
        await asyncio.to_thread(postgres.start)
    assert (await store.get(created.id)).id == created.id
    await database.close()


def test_a_second_process_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with held_state_dir(tmp_path), pytest.raises(ConfigurationError, match="works on the run store") as caught:  # noqa: SIM117
        with held_state_dir(tmp_path):
            pass
    assert exit_code(caught.value.code) == 7
    with held_state_dir(tmp_path):
        pass
