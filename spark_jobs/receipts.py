"""Receipts: the job's verdict on a run, one file each, written once."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, cast

if TYPE_CHECKING:
    from pathlib import Path

    from spark_jobs.errors import CommitRefused
    from spark_jobs.landing import Landing
    from spark_jobs.tables import Table

State = Literal["ingested", "superseded", "refused"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a commit; `superseded` and `refused` wrote nothing."""

    run_id: str
    state: State
    table: str | None
    ingested_at: str
    table_version: int | None = None
    table_rows: int = 0
    quarantined_rows: int = 0
    reason: str | None = None

    def document(self) -> bytes:
        """The receipt as it is stored."""
        return json.dumps({"format": 1, **asdict(self)}, ensure_ascii=False).encode() + b"\n"


def refusal(run_id: str, table: Table | None, refused: CommitRefused) -> Receipt:
    """The receipt of a commit that changes no table."""
    return Receipt(run_id, "refused", table.label if table else None, now(), reason=refused.reason)


def now() -> str:
    """The time as receipts say it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_receipt(landing: Landing, run_id: str) -> Receipt | None:
    """The verdict that stands; None if there is none, or only the torn beginning of one."""
    try:
        content = (landing.receipts / f"{run_id}.json").read_bytes()
        document = cast("dict[str, object]", json.loads(content))
        return Receipt(**{key: document[key] for key in Receipt.__slots__})  # pyright: ignore[reportArgumentType]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def publish_receipt(landing: Landing, receipt: Receipt) -> Receipt:
    """Put the receipt if the run has none, and return the one that stands: the first verdict."""
    landing.receipts.mkdir(parents=True, exist_ok=True)
    target = landing.receipts / f"{receipt.run_id}.json"
    try:
        # A mounted volume refuses links; the job is the only writer of receipts, so creating is enough there.
        (_create if landing.root.startswith("/Volumes/") else _link)(target, receipt.document())
    except FileExistsError:
        standing = read_receipt(landing, receipt.run_id)
        if standing is not None:
            return standing
        # A crash between creating and writing left a file that says nothing: it is no verdict.
        target.unlink()
        return publish_receipt(landing, receipt)
    return receipt


def _create(target: Path, content: bytes) -> None:
    with target.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _link(target: Path, content: bytes) -> None:
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        _create(temporary, content)
        target.hardlink_to(temporary)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
