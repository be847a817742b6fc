"""What a commit is and which one wins: pure decisions over names and order, without Spark, files or a clock."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date, datetime

DATASET_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
COMMIT_NAME: Final = re.compile(
    rf"(?P<dataset>{DATASET_NAME.pattern})\.(?P<sequence>\d{{20}})\.(?P<run_id>{UUID})\.json"
)


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
class Commit:
    """What commits of either kind have in common."""

    kind: ClassVar[str]
    name: CommitName
    ingestion_date: date | None
    rows: int
    rejected_rows: int
    chunks: tuple[Chunk, ...]
    rejects: tuple[Chunk, ...]

    @property
    def dataset(self) -> str:
        """The dataset that it is about."""
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


@dataclass(frozen=True, slots=True)
class SnapshotCommit(Commit):
    """The proven content of one day of one dataset."""

    kind: ClassVar[str] = "snapshot"
    ingestion_date: date
    capped: bool


@dataclass(frozen=True, slots=True)
class FullScan:
    """A scan that saw every file under a prefix of its volume (empty: the whole volume), and when it was complete."""

    prefix: str
    completed_at: datetime


@dataclass(frozen=True, slots=True)
class ClassificationCommit(Commit):
    """Proven news about files of a volume; a full scan also tells which files are gone."""

    kind: ClassVar[str] = "classification"
    full_scan: FullScan | None


def parse_name(file: str) -> CommitName | None:
    """The three parts of a commit's file name; None if it is not one."""
    match = COMMIT_NAME.fullmatch(file)
    if match is None or not match["sequence"].isascii():
        return None
    return CommitName(match["dataset"], int(match["sequence"]), match["run_id"])


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
