"""Builds landing folders by the contract's section 6 alone: nothing of the service is imported."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from pathlib import Path

DAY = "2026-01-31"


def run_id(number: int) -> str:
    """A UUIDv7 that sorts as its number does."""
    return str(UUID(int=(0x0190_0000_0000 + number) << 80 | 0x7 << 76 | 0x8 << 60 | number))


def reject(line_number: int, line: bytes | None, reason: str = "not JSON") -> bytes:
    """A record of a rejected line; None stands for one that was too long to keep."""
    record = {
        "line_number": line_number,
        "reason": reason,
        "length": len(line or b""),
        "sha256": hashlib.sha256(line or b"").hexdigest(),
        "raw": None if line is None else base64.b64encode(line).decode(),
    }
    return json.dumps(record).encode()


def rows(count: int, prefix: str = "f") -> list[bytes]:
    """Rows that say which run and place they come from."""
    return [b'{"fileId":"%s-%d","size":%d}' % (prefix.encode(), index, index) for index in range(count)]


@dataclass
class LandingBuilder:
    """A landing folder that chunks and commits are put into."""

    root: Path

    def chunk(self, folder: str, name: str, lines: list[bytes], members: int = 1) -> dict:
        """Store lines as gzip of one or more members; the entry that a commit holds for it."""
        path = self.root / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        step = -(-len(lines) // members) or 1
        parts = [lines[index : index + step] for index in range(0, len(lines), step)] or [[]]
        stored = b"".join(gzip.compress(b"".join(line + b"\n" for line in part), mtime=0) for part in parts)
        path.write_bytes(stored)
        return {
            "path": f"{folder}/{name}",
            "rows": len(lines),
            "raw_bytes": sum(len(line) + 1 for line in lines),
            "stored_bytes": len(stored),
            "sha256": hashlib.sha256(stored).hexdigest(),
        }

    def document(
        self,
        number: int,
        chunks: list[list[bytes]],
        *,
        dataset: str = "file_metadata",
        day: str = DAY,
        sequence: int | None = None,
        rejects: list[bytes] = (),
        members: int = 1,
        **changes: object,
    ) -> dict:
        """Store chunks and return the commit's document, not yet published."""
        run = run_id(number)
        folder = f"chunks/{dataset}/ingestion_date={day}/run_id={run}/attempt=1"
        parts = [self.chunk(folder, f"part-{index:05d}.jsonl.gz", lines, members) for index, lines in enumerate(chunks)]
        refused = [self.chunk(folder, "rejects-00000.jsonl.gz", list(rejects))] if rejects else []
        return {
            "format": 1,
            "kind": "snapshot",
            "dataset": dataset,
            "run_id": run,
            "sequence": number if sequence is None else sequence,
            "ingestion_date": day,
            "query": None,
            "record_cap": None,
            "scope": None,
            "source": "https://dxr.example",
            "unproven": False,
            "started_at": "2026-01-31T00:00:00Z",
            "completed_at": "2026-01-31T00:01:00Z",
            "rows": sum(part["rows"] for part in parts),
            "rejected_rows": sum(part["rows"] for part in refused),
            "raw_bytes": sum(part["raw_bytes"] for part in parts),
            "chunks": parts,
            "rejects": refused,
            "producer": "landing_builder",
            **changes,
        }

    def publish(self, document: dict, content: bytes | None = None) -> Path:
        """Write the commit last, under the name that its document gives it."""
        name = f"{document['dataset']}.{document['sequence']:020d}.{document['run_id']}.json"
        path = self.root / "commits" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(json.dumps(document).encode() if content is None else content)
        return path

    def commit(self, number: int, chunks: list[list[bytes]], **options: object) -> dict:
        """Store chunks and publish their commit."""
        document = self.document(number, chunks, **options)
        self.publish(document)
        return document

    def receipt(self, number: int) -> dict | None:
        """The verdict on a run."""
        path = self.root / "receipts" / f"{run_id(number)}.json"
        return json.loads(path.read_bytes()) if path.exists() else None

    def states(self, *numbers: int) -> list[str | None]:
        """The states of runs, None for those without a receipt."""
        return [(self.receipt(number) or {}).get("state") for number in numbers]
