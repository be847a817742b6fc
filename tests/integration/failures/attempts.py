"""Single attempts of a snapshot, without the run store: hundreds of them are cheap."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from service.errors import DxrIngestError
from service.landing.attempts import Attempt
from service.snapshot.plan import SnapshotPlan
from service.snapshot.progress import Progress
from tests.integration.runs import commits, root, stored_lines

if TYPE_CHECKING:
    from service.landing.documents import Commit
    from service.wiring import Service


@dataclass
class CountedAttempts:
    """Gives out attempts as the run store does, and remembers how they ended."""

    number: int = 0
    codes: list[str] = field(default_factory=list[str])
    used: int = 0

    async def begin(self, newest_sequence: int) -> Attempt:
        self.number += 1
        return Attempt(self.number, newest_sequence + 1, "2026-01-01T00:00:00.000000Z")

    async def failed(self, code: str) -> None:
        self.codes.append(code)


async def landed(service: Service, attempts: CountedAttempts | None = None) -> Commit:
    """A snapshot of the whole tenant; raises what it fails with."""
    plan = SnapshotPlan(
        run_id=str(uuid.uuid4()),
        dataset="file_metadata",
        ingestion_date="2026-01-01",
        query=None,
        record_cap=None,
        accept_shrunken=True,
    )
    _, commit = await service.execution.snapshots.run(plan, attempts or CountedAttempts(), Progress())
    return commit


async def outcome(service: Service) -> Commit | DxrIngestError:
    """What a snapshot ends with, whichever it is."""
    try:
        return await landed(service)
    except DxrIngestError as error:
        return error


async def failure(service: Service) -> DxrIngestError:
    """The error of a snapshot that must fail; it has committed nothing and left nothing half written."""
    before = len(commits(service))
    with pytest.raises(DxrIngestError) as caught:
        await landed(service)
    assert len(commits(service)) == before
    assert list(root(service).rglob("*.tmp")) == []
    assert caught.value.hint
    return caught.value


def rows_of(service: Service) -> bytes:
    """The rows of the newest commit, checked against all its figures."""
    return stored_lines(service, commits(service)[-1]["chunks"])
