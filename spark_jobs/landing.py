"""The landing folder as the job's own process sees it: names, commit documents, sizes. Chunks are read by Spark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spark_jobs.commits import CommitName, parse_name

if TYPE_CHECKING:
    from spark_jobs.commits import Chunk


@dataclass(frozen=True, slots=True)
class Landing:
    """A landing folder, local or a volume that is mounted at `/Volumes`."""

    root: str

    @property
    def commits(self) -> Path:
        """Where commits appear."""
        return Path(self.root) / "commits"

    @property
    def receipts(self) -> Path:
        """Where their receipts go."""
        return Path(self.root) / "receipts"

    def prepare(self) -> None:
        """Make the folders that a producer may not have made yet: a stream needs its folder to exist."""
        self.commits.mkdir(parents=True, exist_ok=True)
        self.receipts.mkdir(parents=True, exist_ok=True)

    def commit_names(self) -> set[CommitName]:
        """Every file in `commits/` that is named like a commit."""
        return {name for file in self.commits.iterdir() if (name := parse_name(file.name)) is not None}

    def pending(self) -> set[CommitName]:
        """The commits without a receipt."""
        receipted = {file.name for file in self.receipts.iterdir()}
        return {name for name in self.commit_names() if f"{name.run_id}.json" not in receipted}

    def read_commit(self, name: CommitName) -> bytes | None:
        """The bytes of a commit; None when it has been cleaned away."""
        try:
            return (self.commits / name.file).read_bytes()
        except FileNotFoundError:
            return None

    def stored_bytes(self, chunk: Chunk) -> int | None:
        """The size of a chunk's file; None when it is missing."""
        path = Path(self.root) / chunk.path
        return path.stat().st_size if path.is_file() else None

    def paths_of(self, chunks: tuple[Chunk, ...]) -> list[str]:
        """The chunks as paths for Spark."""
        return [f"{self.root}/{chunk.path}" for chunk in chunks]
