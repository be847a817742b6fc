"""The JSON documents of the landing: commits, which the service writes, and receipts, which it reads."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from service import __version__
from service.errors import LandingError

FORMAT: Final = 1
PRODUCER: Final = f"dxr-ingest {__version__}"


class Chunk(msgspec.Struct, frozen=True):
    """One stored gzip file; `sha256` and `stored_bytes` are of the file, `rows` and `raw_bytes` of its lines."""

    path: str
    rows: int
    raw_bytes: int
    stored_bytes: int
    sha256: str


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """What makes a run visible: written last, once, never changed."""

    format: int
    kind: str
    dataset: str
    run_id: str
    sequence: int
    rows: int
    chunks: list[Chunk]
    # What follows may be missing in another producer's commit.
    ingestion_date: str | None = None
    query: str | None = None
    record_cap: int | None = None
    scope: dict[str, Any] | None = None
    source: str = ""
    unproven: bool = False
    started_at: str | None = None
    completed_at: str | None = None
    rejected_rows: int = 0
    raw_bytes: int = 0
    rejects: list[Chunk] = []
    # Beyond format 1, where readers ignore it: what the run's record says, should the store be lost.
    counts: dict[str, Any] = {}
    producer: str = PRODUCER


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """The Spark job's verdict on a commit; its first one stands."""

    format: int
    run_id: str
    state: str
    table: str | None = None
    table_version: int | None = None
    table_rows: int = 0
    quarantined_rows: int = 0
    reason: str | None = None
    ingested_at: str | None = None


_commit_decoder = msgspec.json.Decoder(Commit)
_receipt_decoder = msgspec.json.Decoder(Receipt)


def encode(document: Commit) -> bytes:
    """The bytes of a commit file."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def decode_commit(content: bytes, path: str) -> Commit:
    """The commit in `content`; raises `LandingError` naming `path` when it is none of format 1."""
    try:
        return _of_this_format(_commit_decoder.decode(content))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise _unreadable(path) from error


def decode_receipt(content: bytes, path: str) -> Receipt:
    """The receipt in `content`; raises `LandingError` naming `path` when it is none of format 1."""
    try:
        return _of_this_format(_receipt_decoder.decode(content))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise _unreadable(path) from error


_Document = TypeVar("_Document", Commit, Receipt)


def _of_this_format(document: _Document) -> _Document:
    if document.format != FORMAT:
        raise ValueError(document.format)
    return document


def _unreadable(path: str) -> LandingError:
    return LandingError(
        "LANDING_DOCUMENT",
        f"{path} in the landing is not a document of format {FORMAT}.",
        "Find what changed it; docs/landing-format.md says what it should hold.",
    )
