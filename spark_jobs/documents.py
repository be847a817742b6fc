"""A commit's document, read and proven: pure decisions over bytes, without Spark, files or a clock."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final, NoReturn, TypedDict, cast

from spark_jobs.commits import Chunk, ClassificationCommit, FullScan, SnapshotCommit
from spark_jobs.errors import CommitRefused

if TYPE_CHECKING:
    from spark_jobs.commits import CommitName

REQUIRED: Final = ("format", "kind", "dataset", "run_id", "sequence", "rows", "chunks")
# Spark skips names that begin with _ or . and reads a file as gzip by its ending alone.
CHUNK_PATH: Final = re.compile(
    r"chunks/(?P<dataset>[^/]+)/ingestion_date=(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})/run_id=(?P<run_id>[^/]+)/"
    r"attempt=[0-9]{1,9}/[A-Za-z0-9][A-Za-z0-9._-]*\.jsonl\.gz"
)
SHA256: Final = re.compile(r"[0-9a-f]{64}")
LONG_MAX: Final = 2**63 - 1
# One chunk is held whole in one task while it is checked.
CHUNK_STORED_BYTES_MAX: Final = 512 * 1024 * 1024


class Content(TypedDict):
    """What a commit of either kind says that it holds."""

    rows: int
    rejected_rows: int
    chunks: tuple[Chunk, ...]
    rejects: tuple[Chunk, ...]


def parse_document(name: CommitName, content: bytes) -> dict[str, object]:
    """The commit's document, proven to be of format 1 and to agree with its file name.

    Raises:
        CommitRefused: says what is wrong with the document, without quoting it.
    """
    document = _json_object(content)
    missing = [key for key in REQUIRED if key not in document]
    if missing:
        _invalid(f"lacks {', '.join(missing)}")
    if document["format"] != 1 or isinstance(document["format"], bool):
        _invalid("its format is not 1; a newer job may read it")
    said = (document["dataset"], document["run_id"], _count(document["sequence"], "sequence"))
    if said != (name.dataset, name.run_id, name.sequence):
        _invalid("dataset, run_id or sequence differ from its file name")
    return document


def parse_snapshot(name: CommitName, document: dict[str, object]) -> SnapshotCommit:
    """The snapshot that a document describes, its counts and paths proven to be consistent.

    Raises:
        CommitRefused: says what is wrong with the document, without quoting it.
    """
    day = _day(document.get("ingestion_date"))
    capped = document.get("record_cap") is not None
    return SnapshotCommit(name=name, ingestion_date=day, capped=capped, **_content(name, document, day.isoformat()))


def parse_classification(name: CommitName, document: dict[str, object]) -> ClassificationCommit:
    """The classification that a document describes, its counts, paths and scope proven to be consistent.

    It needs no day, and its chunks may lie under several.

    Raises:
        CommitRefused: says what is wrong with the document, without quoting it.
    """
    day = document.get("ingestion_date")
    return ClassificationCommit(
        name=name,
        ingestion_date=None if day is None else _day(day),
        full_scan=_full_scan(document.get("scope"), document.get("completed_at")),
        **_content(name, document, None),
    )


def _content(name: CommitName, document: dict[str, object], day: str | None) -> Content:
    chunks = _chunks(document["chunks"], "chunks", name, day)
    rejects = _chunks(document.get("rejects") or [], "rejects", name, day)
    rows = _count(document["rows"], "rows")
    rejected_rows = _count(document.get("rejected_rows") or 0, "rejected_rows")
    if rows != sum(chunk.rows for chunk in chunks):
        _invalid("rows is not the sum over its chunks")
    if rejected_rows != sum(chunk.rows for chunk in rejects):
        _invalid("rejected_rows is not the sum over its rejects")
    paths = [chunk.path for chunk in (*chunks, *rejects)]
    if len(set(paths)) != len(paths):
        _invalid("names a chunk twice")
    raw_bytes = document.get("raw_bytes")
    if raw_bytes is not None and _count(raw_bytes, "raw_bytes") != sum(chunk.raw_bytes for chunk in chunks):
        _invalid("raw_bytes is not the sum over its chunks")
    return {"rows": rows, "rejected_rows": rejected_rows, "chunks": chunks, "rejects": rejects}


def _full_scan(scope: object, completed_at: object) -> FullScan | None:
    if scope is None:
        return None
    if not isinstance(scope, dict):
        _invalid("scope is not an object")
    said = cast("dict[str, object]", scope)
    prefix, complete = said.get("prefix"), said.get("complete")
    if not isinstance(prefix, str | None) or not isinstance(complete, bool):
        _invalid("scope is not a prefix (text or null) and complete (true or false)")
    return FullScan((prefix or "").strip("/"), _time(completed_at)) if complete else None


def _json_object(content: bytes) -> dict[str, object]:
    if not content.strip():
        raise CommitRefused("COMMIT_UNREADABLE", "the file is empty")
    try:
        document: object = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        raise CommitRefused("COMMIT_UNREADABLE", "the file is not one whole JSON document") from None
    if not isinstance(document, dict):
        raise CommitRefused("COMMIT_UNREADABLE", "the document is not a JSON object")
    return cast("dict[str, object]", document)


def _invalid(text: str) -> NoReturn:
    raise CommitRefused("COMMIT_INVALID", text)


def _count(value: object, key: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LONG_MAX:
        return value
    return _invalid(f"{key} is not a whole number from 0 to 2^63-1")


def _day(value: object) -> date:
    try:
        day = date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        day = None
    # fromisoformat also takes 20260101 and 2026-W01-1, which no path of the landing spells.
    if day is None or day.isoformat() != value:
        _invalid("ingestion_date is not a date YYYY-MM-DD")
    return day


def _time(value: object) -> datetime:
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        time = None
    if time is None:
        _invalid("completed_at is not a time, and the rows that a complete scan misses need one")
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _chunks(value: object, key: str, name: CommitName, day: str | None) -> tuple[Chunk, ...]:
    if not isinstance(value, list):
        _invalid(f"{key} is not a list")
    return tuple(_chunk(entry, key, name, day) for entry in cast("list[object]", value))


def _chunk(entry: object, key: str, name: CommitName, day: str | None) -> Chunk:
    if not isinstance(entry, dict):
        _invalid(f"an entry of {key} is not an object")
    fields = cast("dict[str, object]", entry)
    sha256 = fields.get("sha256")
    if not isinstance(sha256, str) or SHA256.fullmatch(sha256) is None:
        _invalid(f"a sha256 in {key} is not 64 lower-case hex digits")
    chunk = Chunk(
        path=_path(fields.get("path"), key, name, day),
        rows=_count(fields.get("rows"), f"rows in {key}"),
        raw_bytes=_count(fields.get("raw_bytes"), f"raw_bytes in {key}"),
        stored_bytes=_count(fields.get("stored_bytes"), f"stored_bytes in {key}"),
        sha256=sha256,
    )
    if chunk.stored_bytes > CHUNK_STORED_BYTES_MAX:
        _invalid(f"{chunk.path} is said to be larger than {CHUNK_STORED_BYTES_MAX} bytes")
    return chunk


def _path(value: object, key: str, name: CommitName, day: str | None) -> str:
    # The path's pattern leaves no room for another slash, a leading dot or a Spark path pattern.
    match = CHUNK_PATH.fullmatch(value) if isinstance(value, str) else None
    if match and (match["dataset"], match["run_id"], day or match["day"]) == (name.dataset, name.run_id, match["day"]):
        return match[0]
    return _invalid(f"a path in {key} does not lie in the folder of its run and day or does not end in .jsonl.gz")
