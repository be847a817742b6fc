"""The run store on a real SQLite file."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path  # noqa: TC003
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
import sqlalchemy as sa

from service.clock import SystemClock
from service.errors import AlreadyActiveError, ErrorReport, NotFoundError, StoreError
from service.runs.lock import held_state_dir
from service.runs.model import Kind, Request, State
from service.runs.schema import metadata
from service.runs.store import RunFilter, RunStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ASKED = Request(Kind.SNAPSHOT, "file_metadata", "2026-11-22", None, None, accept_shrunken=False, trigger="test")
REPORT = ErrorReport("CODE", "what", "do", retryable=True)


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[RunStore]:
    store = RunStore(f"sqlite+aiosqlite:///{tmp_path}/runs.sqlite", SystemClock())
    await store.open()
    yield store
    await store.close()


async def test_the_migrations_make_the_tables_of_the_schema(store: RunStore, tmp_path: Path) -> None:
    made = sa.create_engine(f"sqlite:///{tmp_path}/runs.sqlite")
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with made.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    made.dispose()


async def test_one_active_run_per_dataset_whoever_asks(store: RunStore) -> None:
    outcomes = await asyncio.gather(*(store.create(ASKED) for _ in range(20)), return_exceptions=True)
    created = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert len(created) == 1
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert {error.run_id for error in refused if isinstance(error, AlreadyActiveError)} == {created[0].id}
    assert len(refused) == 19
    await store.create(replace(ASKED, dataset="another"))
    await store.cancel(created[0].id)
    await store.create(ASKED)


async def test_states_follow_only_where_they_may(store: RunStore) -> None:
    run = await store.create(ASKED)
    assert await store.fail(run.id, REPORT) is not None
    assert await store.claim(run.id) is None
    assert await store.cancel(run.id) is None
    assert await store.hand_back(run.id) is None
    assert await store.land(run.id, State.LANDED, "commits/x.json", {}) is None
    ended = await store.get(run.id)
    assert (ended.state, ended.error) == (State.FAILED, REPORT)
    assert ended.ended_at is not None


async def test_attempts_count_and_sequences_rise(store: RunStore) -> None:
    run = await store.create(ASKED)
    await store.claim(run.id)
    first = await store.begin_attempt(run.id, 0)
    second = await store.begin_attempt(run.id, 10**17)
    third = await store.begin_attempt(run.id, 0)
    assert [first.number, second.number, third.number] == [1, 2, 3]
    assert second.sequence == 10**17 + 1
    assert third.sequence == second.sequence + 1
    await store.cancel(run.id)
    with pytest.raises(StoreError, match="not running"):
        await store.begin_attempt(run.id, 0)


async def test_a_claim_succeeds_once(store: RunStore) -> None:
    run = await store.create(ASKED)
    claims = await asyncio.gather(*(store.claim(run.id) for _ in range(10)))
    assert sum(claim is not None for claim in claims) == 1


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


async def test_a_store_that_is_away_is_an_error_with_advice(tmp_path: Path) -> None:
    store = RunStore(f"sqlite+aiosqlite:///{tmp_path}/no/such/folder/runs.sqlite", SystemClock())
    with pytest.raises(StoreError, match="does not answer") as caught:
        await store.ping()
    assert caught.value.hint
    await store.close()
    # aiosqlite's thread of a connection that failed still answers to this loop: let it end before the loop does.
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:
            await asyncio.to_thread(thread.join, 10)


def test_a_second_process_is_refused_with_the_way_out(tmp_path: Path) -> None:
    from service.errors import ConfigurationError, exit_code

    with held_state_dir(tmp_path), pytest.raises(ConfigurationError, match="works on the run store") as caught:  # noqa: SIM117
        with held_state_dir(tmp_path):
            pass
    assert exit_code(caught.value.code) == 7
    with held_state_dir(tmp_path):
        pass
