"""Landing folders for the tables: chunks as the service stores them, made once, and commits that name them."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from isal import igzip

from bench.source import BIG_ROW_EVERY, SEED
from tests.simulators.dxr import GeneratedFiles

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

CHUNK_BYTES: Final = 64 << 20  # what the service seals a chunk at
ISAL_LEVEL: Final = 1


def chunks(blocks: Iterable[bytes], folder: Path) -> list[dict[str, Any]]:
    """Blocks of whole lines as stored chunks in a folder, each with what a commit says of it; made once."""
    told = folder / "chunks.json"
    if not told.exists():
        folder.mkdir(parents=True, exist_ok=True)
        entries = [_stored(folder / f"part-{number:05d}.jsonl.gz", held) for number, held in enumerate(_packed(blocks))]
        told.write_text(json.dumps(entries))
    return json.loads(told.read_text())


def file_rows(rows: int, folder: Path) -> list[dict[str, Any]]:
    """The corpus of the landing's benchmark, up to a row, as chunks in a folder."""
    return chunks(GeneratedFiles(rows, seed=SEED, big_row_every=BIG_ROW_EVERY).blocks(), folder)


def run_id(number: int) -> str:
    """A UUIDv7 that sorts as its number does."""
    return str(UUID(int=(0x0190_0000_0000 + number) << 80 | 0x7 << 76 | 0x8 << 60 | number))


def publish(
    landing: Path,
    number: int,
    entries: Sequence[dict[str, Any]],
    stored: Path,
    *,
    dataset: str = "file_metadata",
    kind: str = "snapshot",
    day: str = "2026-01-31",
) -> dict[str, Any]:
    """Commit stored chunks as a run of their own, into which they are linked; `number` is its sequence."""
    run = run_id(number)
    folder = f"chunks/{dataset}/ingestion_date={day}/run_id={run}/attempt=1"
    (landing / folder).mkdir(parents=True)
    (landing / "commits").mkdir(exist_ok=True)
    for entry in entries:
        os.link(stored / entry["name"], landing / folder / entry["name"])
    moment = datetime(2026, 1, 31, tzinfo=UTC).isoformat().replace("+00:00", "Z")
    document = {
        "format": 1,
        "kind": kind,
        "dataset": dataset,
        "run_id": run,
        "sequence": number,
        "ingestion_date": day,
        "query": None,
        "record_cap": None,
        "scope": None if kind == "snapshot" else {"prefix": "", "complete": False},
        "source": "https://dxr.example",
        "unproven": False,
        "started_at": moment,
        "completed_at": moment,
        "rows": sum(entry["rows"] for entry in entries),
        "rejected_rows": 0,
        "raw_bytes": sum(entry["raw_bytes"] for entry in entries),
        "chunks": [
            {"path": f"{folder}/{entry['name']}"} | {key: entry[key] for key in entry if key != "name"}
            for entry in entries
        ],
        "rejects": [],
        "producer": "bench",
    }
    (landing / "commits" / f"{dataset}.{number:020d}.{run}.json").write_text(json.dumps(document))
    return document


def _packed(blocks: Iterable[bytes]) -> Iterable[bytes]:
    held = bytearray()
    for block in blocks:
        if held and len(held) + len(block) > CHUNK_BYTES:
            yield bytes(held)
            held.clear()
        held += block
    if held:
        yield bytes(held)


def _stored(path: Path, lines: bytes) -> dict[str, Any]:
    stored = igzip.compress(lines, compresslevel=ISAL_LEVEL)
    path.write_bytes(stored)
    return {
        "name": path.name,
        "rows": lines.count(b"\n"),
        "raw_bytes": len(lines),
        "stored_bytes": len(stored),
        "sha256": hashlib.sha256(stored).hexdigest(),
    }
