"""What a commit is and which one wins: pure decisions over bytes and names, without Spark, files or a clock."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Final, NoReturn, cast

from spark_jobs.errors import CommitRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

DATASET_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
# Spark skips names that begin with _ or . and reads a file as gzip by its ending alone.
CHUNK_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.jsonl\.gz")
SHA256: Final = re.compile(r"[0-9a-f]{64}")
UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
COMMIT_NAME: Final = re.compile(
    rf"(?P<dataset>{DATASET_NAME.pattern})\.(?P<sequence>\d{{20}})\.(?P<run_id>{UUID})\.json"
)
REQUIRED: Final = ("format", "kind", "dataset", "run_id", "sequence", "rows", "chunks")
LONG_MAX: Final = 2**63 - 1
# One chunk is held whole in one task while it is checked.
CHUNK_STORED_BYTES_MAX: Final = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True, order=True)
class CommitName:
    """A commit's file name; what it says holds even when the content is unusable."""

    dataset: str
    sequence: int
    run_id: str

    @property
    def file(self) -> str:
        """The name in `commits/`."""
        return f"{self.dataset}.{self.sequence:020d}.{self.run_id}.json"


@dataclass(frozen=True, slots=True)
class Chunk:
    """One stored gzip file as its commit describes it; `path` is relative to the landing's root."""

    path: str
    rows: int
    raw_bytes: int
    stored_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SnapshotCommit:
    """The proven content of one day of one dataset."""

    name: CommitName
    ingestion_date: date
    capped: bool
    rows: int
    rejected_rows: int
    chunks: tuple[Chunk, ...]
    rejects: tuple[Chunk, ...]

    @property
    def dataset(self) -> str:
        """The dataset that it replaces a day of."""
        return self.name.dataset

    @property
    def run_id(self) -> str:
        """The run that published it."""
        return self.name.run_id

    @property
    def sequence(self) -> int:
        """Its place in the order of the dataset."""
        return self.name.sequence

    @property
    def is_newer_than(self) -> tuple[int, str]:
        """The key of that order: the higher sequence is newer, of equal ones the higher run id."""
        return self.name.sequence, self.name.run_id


def parse_name(file: str) -> CommitName | None:
    """The three parts of a commit's file name; None if it is not one."""
    match = COMMIT_NAME.fullmatch(file)
    if match is None or not match["sequence"].isascii():
        return None
    return CommitName(match["dataset"], int(match["sequence"]), match["run_id"])


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
    folder = f"chunks/{name.dataset}/ingestion_date={day.isoformat()}/run_id={name.run_id}/"
    chunks = _chunks(document["chunks"], "chunks", folder)
    rejects = _chunks(document.get("rejects") or [], "rejects", folder)
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
    return SnapshotCommit(
        name=name,
        ingestion_date=day,
        capped=document.get("record_cap") is not None,
        rows=rows,
        rejected_rows=rejected_rows,
        chunks=chunks,
        rejects=rejects,
    )


def by_day(commits: Iterable[SnapshotCommit]) -> list[list[SnapshotCommit]]:
    """Commits grouped by dataset and day, in the order in which they should be tried within each.

    Full snapshots come before capped ones, because a capped one may only land where no full one stands;
    among equals the newest comes first, so that a backlog of one day costs one write.
    """
    days: defaultdict[tuple[str, date], list[SnapshotCommit]] = defaultdict(list)
    for commit in commits:
        days[commit.dataset, commit.ingestion_date].append(commit)
    newest_first = {
        key: sorted(day, key=lambda commit: commit.is_newer_than, reverse=True) for key, day in days.items()
    }
    return [sorted(newest_first[key], key=lambda commit: commit.capped) for key in sorted(newest_first)]


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


def _chunks(value: object, key: str, folder: str) -> tuple[Chunk, ...]:
    if not isinstance(value, list):
        _invalid(f"{key} is not a list")
    return tuple(_chunk(entry, key, folder) for entry in cast("list[object]", value))


def _chunk(entry: object, key: str, folder: str) -> Chunk:
    if not isinstance(entry, dict):
        _invalid(f"an entry of {key} is not an object")
    fields = cast("dict[str, object]", entry)
    sha256 = fields.get("sha256")
    if not isinstance(sha256, str) or SHA256.fullmatch(sha256) is None:
        _invalid(f"a sha256 in {key} is not 64 lower-case hex digits")
    chunk = Chunk(
        path=_path(fields.get("path"), key, folder),
        rows=_count(fields.get("rows"), f"rows in {key}"),
        raw_bytes=_count(fields.get("raw_bytes"), f"raw_bytes in {key}"),
        stored_bytes=_count(fields.get("stored_bytes"), f"stored_bytes in {key}"),
        sha256=sha256,
    )
    if chunk.stored_bytes > CHUNK_STORED_BYTES_MAX:
        _invalid(f"{chunk.path} is said to be larger than {CHUNK_STORED_BYTES_MAX} bytes")
    return chunk


def _path(value: object, key: str, folder: str) -> str:
    if isinstance(value, str) and value.startswith(folder):
        attempt, _, file = value.removeprefix(folder).partition("/")
        # The name's pattern leaves no room for a slash, a leading dot or a Spark path pattern.
        if re.fullmatch(r"attempt=[0-9]{1,9}", attempt) and CHUNK_NAME.fullmatch(file):
            return value
    return _invalid(f"a path in {key} does not lie under {folder}attempt=<n>/ or has another ending than .jsonl.gz")
