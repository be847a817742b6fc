"""The paths of the landing format, relative to its root. Pure; the specification is docs/landing-format.md."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

COMMITS: Final = "commits"
RECEIPTS: Final = "receipts"
DATASET_PATTERN: Final = r"^[a-z][a-z0-9_]{0,62}$"
RUN_ID_PATTERN: Final = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"

# Names of tables that are not a snapshot's (docs/tables.md).
RESERVED_DATASETS: Final = frozenset({"dxr_quarantine", "dxr_ingest_log"})

_COMMIT_NAME = re.compile(r"([a-z][a-z0-9_]{0,62})\.([0-9]{20})\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.json")
_SEQUENCE_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True, order=True)
class CommitName:
    """What a commit's file name says. Ordered as truth is: sequence first, then run id."""

    sequence: int
    run_id: str
    dataset: str

    @property
    def path(self) -> str:
        """Its place under the root."""
        return f"{COMMITS}/{self.dataset}.{self.sequence:020d}.{self.run_id}.json"

    @classmethod
    def parse(cls, path: str) -> CommitName | None:
        """The name at the end of `path`; None when it is not a commit's."""
        match = _COMMIT_NAME.fullmatch(path.rpartition("/")[2])
        if match is None or int(match[2]) > _SEQUENCE_MAX:
            return None
        return cls(int(match[2]), match[3], match[1])


def attempt_folder(dataset: str, ingestion_date: str, run_id: str, attempt: int) -> str:
    """Where one attempt's chunks and rejects lie; a failed attempt leaves a folder that nothing refers to."""
    return f"chunks/{dataset}/ingestion_date={ingestion_date}/run_id={run_id}/attempt={attempt}"


def chunk_name(stem: str, number: int) -> str:
    """`part-00000.jsonl.gz`, `rejects-00000.jsonl.gz`."""
    return f"{stem}-{number:05d}.jsonl.gz"


def receipt_path(run_id: str) -> str:
    """Where the Spark job puts its verdict on a run."""
    return f"{RECEIPTS}/{run_id}.json"
