"""Carrying out one run the way the command line does, for tests."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path  # noqa: TC003
from typing import TYPE_CHECKING, Any

from service.runs.execution import Work
from service.runs.triggers import SnapshotRequest, resolve_snapshot

if TYPE_CHECKING:
    from service.runs.model import Run
    from service.wiring import Service


async def snapshot(service: Service, **asked: Any) -> Run:
    """A snapshot run, from its trigger to its end."""
    request = resolve_snapshot(SnapshotRequest(**asked), service.settings, service.clock.now().date(), "test")
    created = await service.store.create(request)
    return await carried_out(service, created.id)


async def carried_out(service: Service, run_id: str) -> Run:
    """A queued run, claimed and brought to its end here."""
    claim = await service.claims.claim(run_id)
    assert claim is not None
    await Work(claim).begin(service.execution)
    return await service.store.get(run_id)


def root(service: Service) -> Path:
    return service.settings.landing_path


def commits(service: Service) -> list[dict[str, Any]]:
    """The commit documents of the landing, oldest truth first."""
    return commits_below(root(service))


def commits_below(landing: Path) -> list[dict[str, Any]]:
    """The commit documents of a landing in this folder, oldest truth first."""
    return [json.loads(path.read_text()) for path in sorted((landing / "commits").glob("*.json"))]


def stored_lines(service: Service, entries: list[dict[str, Any]]) -> bytes:
    """The bytes of a commit's chunks, checked against every figure that the commit gives."""
    return lines_below(root(service), entries)


def lines_below(landing: Path, entries: list[dict[str, Any]]) -> bytes:
    """The bytes of chunks of a landing in this folder, checked against every figure that the commit gives."""
    out = b""
    for entry in entries:
        stored = (landing / entry["path"]).read_bytes()
        raw = gzip.decompress(stored)
        assert len(stored) == entry["stored_bytes"]
        assert hashlib.sha256(stored).hexdigest() == entry["sha256"]
        assert (len(raw), raw.count(b"\n")) == (entry["raw_bytes"], entry["rows"])
        out += raw
    return out
