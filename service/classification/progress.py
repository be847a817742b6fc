"""What a running classification tells: written by the flow, read by whoever looks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from service.classification.records import DELETED, LABELLED


@dataclass(slots=True)
class Progress:
    """Counts of the run, and what each lane is doing."""

    scanned: int = 0
    unchanged: int = 0
    skipped: int = 0
    submitted: int = 0
    labelled: int = 0
    deleted: int = 0
    resubmitted_unconfirmed: int = 0
    reasons: Counter[str] = field(default_factory=Counter[str])
    lanes: dict[str, str] = field(default_factory=dict[str, str])

    def take_up(self, told: Counter[str]) -> None:
        """Begin with what processes before this one have told, by status."""
        self.unchanged = 0
        self.labelled = told[LABELLED]
        self.deleted = told[DELETED]
        self.reasons = Counter({code: count for code, count in told.items() if code not in {LABELLED, DELETED}})
        self.scanned = self.labelled + sum(self.reasons.values())

    def as_dict(self) -> dict[str, Any]:
        """For the run's `progress`."""
        return {**self.counts(), "submitted": self.submitted, "lanes": dict(self.lanes)}

    def counts(self) -> dict[str, Any]:
        """For the run's `counts`: scanned = unchanged + labelled + all reasons."""
        return {
            "scanned": self.scanned,
            "unchanged": self.unchanged,
            "skipped": self.skipped,
            "labelled": self.labelled,
            "reasons": dict(self.reasons),
            "deleted": self.deleted,
            "resubmitted_unconfirmed": self.resubmitted_unconfirmed,
        }
