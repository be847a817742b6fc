"""What the landing says about the past of a dataset: it is the truth, whatever a store recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from service.errors import LandingError
from service.landing import layout
from service.landing.documents import Commit, Receipt, decode_commit, decode_receipt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.landing.port import Landing


_log = structlog.get_logger(__name__)


async def commit_names(landing: Landing, dataset: str | None = None) -> list[layout.CommitName]:
    """The commits of a dataset, or of all, newest truth first."""
    names = [layout.CommitName.parse(stored.path) async for stored in landing.list(layout.COMMITS)]
    return sorted((name for name in names if name and dataset in {None, name.dataset}), reverse=True)


async def commit_at(landing: Landing, name: layout.CommitName) -> Commit | None:
    """A commit; None when it is not there.

    Nor when it cannot be read: then it proves nothing about the past, is named in the log and passed over, as the Spark
    job refuses it too.
    """
    content = await landing.read(name.path)
    try:
        return None if content is None else decode_commit(content, name.path)
    except LandingError as error:
        _log.warning("commit_unreadable", path=name.path, code=error.code)
        return None


async def commits(landing: Landing, dataset: str) -> AsyncIterator[Commit]:
    """The dataset's commit documents that can be read, newest truth first, one by one."""
    for name in await commit_names(landing, dataset):
        if commit := await commit_at(landing, name):
            yield commit


async def newest_uncapped(landing: Landing, dataset: str) -> Commit | None:
    """The commit that the next snapshot is compared with."""
    async for commit in commits(landing, dataset):
        if commit.record_cap is None:
            return commit
    return None


async def standing_full_snapshot(landing: Landing, dataset: str, ingestion_date: str) -> Commit | None:
    """An uncapped commit of that date which the Spark job has not refused."""
    async for commit in commits(landing, dataset):
        if commit.record_cap is None and commit.ingestion_date == ingestion_date:
            receipt = await receipt_of(landing, commit.run_id)
            if receipt is None or receipt.state != "refused":
                return commit
    return None


async def commit_of_run(landing: Landing, dataset: str, run_id: str) -> tuple[str, Commit] | None:
    """The run's commit and its path, if it was published."""
    for name in await commit_names(landing, dataset):
        if name.run_id == run_id:
            content = await landing.read(name.path)
            if content is not None:
                return name.path, decode_commit(content, name.path)
    return None


async def receipt_of(landing: Landing, run_id: str) -> Receipt | None:
    """The Spark job's verdict on the run, if there is one."""
    path = layout.receipt_path(run_id)
    content = await landing.read(path)
    return None if content is None else decode_receipt(content, path)
