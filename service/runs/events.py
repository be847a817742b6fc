"""What is told of a run to whoever follows it, and when there is nothing more to tell. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from service.runs.model import ACTIVE, State

if TYPE_CHECKING:
    from service.runs.model import Run


class Ending(StrEnum):
    """Why a stream of events ended."""

    # Nothing will change any more.
    SETTLED = "settled"
    # It landed, and the Spark job has not spoken in time.
    NO_RECEIPT = "no_receipt"
    # The process that told shuts down: ask again, another one may go on.
    DRAINING = "draining"
    # The run is old and was removed from the store.
    FORGOTTEN = "forgotten"


@dataclass(frozen=True, slots=True)
class Seen:
    """A run at some moment; the higher revision is the newer one."""

    run: Run
    revision: int
    at: str


@dataclass(frozen=True, slots=True)
class Event:
    """`run`: the whole run; `progress`: what it has done by now; `end`: the last one. `id` grows."""

    name: str
    id: int
    data: dict[str, Any]


def news(before: Seen | None, now: Seen) -> Event | None:
    """What to tell to somebody who knows `before`: nothing, the progress, or the run."""
    if before is None or _without_progress(before.run) != _without_progress(now.run):
        return Event("run", now.revision, now.run.as_dict())
    if before.run.progress == now.run.progress:
        return None
    return Event(
        "progress",
        now.revision,
        {
            "run_id": now.run.id,
            "at": now.at,
            "state": now.run.state.value,
            "attempt": now.run.attempt,
            "progress": now.run.progress,
        },
    )


def awaits_receipt(run: Run) -> bool:
    """Whether it has landed and the Spark job is still to speak."""
    return run.state in {State.LANDED, State.PARTIAL} and run.receipt is None


def ending(run: Run | None, *, waited_enough: bool, draining: bool) -> Ending | None:
    """Why the stream ends now; None: it goes on. `waited_enough`: for a receipt."""
    if run is None:
        return Ending.FORGOTTEN
    if run.state not in ACTIVE and not awaits_receipt(run):
        return Ending.SETTLED
    if draining:
        return Ending.DRAINING
    return Ending.NO_RECEIPT if waited_enough and awaits_receipt(run) else None


def end(run: Run, revision: int, why: Ending) -> Event:
    """The last event."""
    return Event("end", revision, {"run_id": run.id, "state": run.state.value, "reason": why.value})


def _without_progress(run: Run) -> dict[str, Any]:
    return {name: value for name, value in run.as_dict().items() if name != "progress"}
