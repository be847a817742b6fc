"""What DXR says about a classifier job, in every shape met in the wild. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Final, cast

from service.errors import UpstreamError


class Phase(enum.Enum):
    """Where a job is; anything unknown is waiting, which is why a job always has a deadline."""

    WAITING = "waiting"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"


_PHASES: Final = {
    "FINISHED": Phase.FINISHED,
    "COMPLETED": Phase.FINISHED,
    "SUCCESSFUL": Phase.FINISHED,
    "DONE": Phase.FINISHED,
    "FAILED": Phase.FAILED,
    "CANCELLED": Phase.CANCELLED,
}
_STATE_KEYS: Final = ("state", "status", "jobState")
_ERROR_KEYS: Final = ("errorMessage", "message", "error")


@dataclass(frozen=True, slots=True)
class Job:
    """A job as DXR reports it. `has_error_text` says that there is a text, which may name a file and is not kept."""

    job_id: str | None
    phase: Phase
    scan_id: int | None
    has_error_text: bool


def parse_job(document: object) -> Job:
    """The job in an answer to a submit or a poll. Raises `UpstreamError` when it is no JSON object."""
    top = _object(document)
    if top is None:
        raise UpstreamError(
            "DXR_UNAVAILABLE",
            "DXR answered about a classifier job with something that is no JSON object.",
            "Check what stands between this service and DXR.",
        )
    job = _object(top.get("job")) or top
    state = next((job[key] for key in _STATE_KEYS if job.get(key) is not None), None)
    nested = _object(state) or {}
    word = nested.get("value") if nested else state
    return Job(
        job_id=_identifier(job.get("id", top.get("id"))),
        phase=_PHASES.get(word.strip().upper(), Phase.WAITING) if isinstance(word, str) else Phase.WAITING,
        scan_id=_scan_id(nested, job, top),
        has_error_text=any(holder.get(key) for holder in (nested, job, top) for key in _ERROR_KEYS),
    )


def _object(value: object) -> dict[str, Any] | None:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _identifier(value: object) -> str | None:
    """Job ids are numbers or strings."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value) or None
    return None


def _scan_id(*holders: dict[str, Any]) -> int | None:
    for holder in holders:
        for key in ("datasourceScanId", "state.datasourceScanId"):
            value = holder.get(key)
            if isinstance(value, int) and not isinstance(value, bool):
                return value
            if isinstance(value, str) and value.isdecimal():
                return int(value)
    return None
