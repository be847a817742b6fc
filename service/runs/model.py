"""What a run is, and which of its states may follow which. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from service.errors import ErrorReport


class Kind(enum.StrEnum):
    """What a run lands."""

    SNAPSHOT = "snapshot"
    CLASSIFICATION = "classification"


class State(enum.StrEnum):
    """How far a run is."""

    QUEUED = "queued"
    RUNNING = "running"
    LANDED = "landed"
    PARTIAL = "partial"
    INGESTED = "ingested"
    FAILED = "failed"
    CANCELLED = "cancelled"


ACTIVE: Final = frozenset({State.QUEUED, State.RUNNING})
# A landed run waits for its receipt; a refused one becomes failed.
_FOLLOWS: Final = {
    State.QUEUED: {State.RUNNING, State.CANCELLED, State.FAILED},
    State.RUNNING: {State.QUEUED, State.LANDED, State.PARTIAL, State.FAILED, State.CANCELLED},
    State.LANDED: {State.INGESTED, State.FAILED},
    State.PARTIAL: {State.FAILED},
    State.INGESTED: set[State](),
    State.FAILED: set[State](),
    State.CANCELLED: set[State](),
}


def predecessors(state: State) -> list[State]:
    """The states that `state` may follow."""
    return [before for before, after in _FOLLOWS.items() if state in after]


@dataclass(frozen=True, slots=True)
class Request:
    """What a trigger asks for, with every default resolved: attempts never change it."""

    kind: Kind
    dataset: str
    ingestion_date: str
    query: str | None
    record_cap: int | None
    accept_shrunken: bool
    trigger: str
    prefix: str = ""
    full_scan: bool = False

    @property
    def scope(self) -> dict[str, Any]:
        """What a classification looks at; it stands in the run's `progress`. Nothing of a snapshot."""
        return {"prefix": self.prefix, "full": self.full_scan} if self.kind is Kind.CLASSIFICATION else {}


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it is kept. Times are ISO 8601 in UTC, `commit` is a path under the landing's root."""

    id: str
    request: Request
    state: State
    attempt: int
    sequence: int
    created_at: str
    started_at: str | None = None
    ended_at: str | None = None
    progress: dict[str, Any] = field(default_factory=dict[str, Any])
    counts: dict[str, Any] = field(default_factory=dict[str, Any])
    error: ErrorReport | None = None
    commit: str | None = None
    receipt: dict[str, Any] | None = None

    @property
    def active(self) -> bool:
        """Whether it holds its dataset."""
        return self.state in ACTIVE

    def as_dict(self) -> dict[str, Any]:
        """The run of docs/api.md: the same for HTTP, `-o json` and events."""
        error = self.error
        return {
            "id": self.id,
            "kind": self.request.kind.value,
            "dataset": self.request.dataset,
            "ingestion_date": self.request.ingestion_date,
            "query": self.request.query,
            "record_cap": self.request.record_cap,
            "state": self.state.value,
            "attempt": self.attempt,
            "trigger": self.request.trigger,
            "created_at": self.created_at,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "progress": self.progress,
            "counts": self.counts,
            "error": None
            if error is None
            else {"code": error.code, "message": error.message, "hint": error.hint, "retryable": error.retryable},
            "commit": self.commit,
            "receipt": self.receipt,
        }
