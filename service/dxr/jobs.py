"""What DXR says about a classifier job, in every shape met in the wild. Pure."""

from __future__ import annotations

import enum
import re
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
_SCAN_ID: Final = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Job:
    """A job as DXR reports it. The state alone decides: an error text may come with any, and may name a file."""

    job_id: str | None
    phase: Phase
    scan_id: int | None


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
        job_id=_identifier(job.get("id")) or _identifier(top.get("id")),
        phase=_PHASES.get(word.strip().upper(), Phase.WAITING) if isinstance(word, str) else Phase.WAITING,
        scan_id=_scan_id(nested, job, top),
    )


def _object(value: object) -> dict[str, Any] | None:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _identifier(value: object) -> str | None:
    """Job ids are numbers or strings; what could not be written down or asked for is none."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return text if text.isprintable() and text else None


def scan_id_in(value: object) -> int | None:
    """A scan's id, written as a number or as text; None for what no table could hold as one."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return int(text) if _SCAN_ID.fullmatch(text) else None


def _scan_id(*holders: dict[str, Any]) -> int | None:
    values = (holder.get(key) for holder in holders for key in ("datasourceScanId", "state.datasourceScanId"))
    return next((scan_id for value in values if (scan_id := scan_id_in(value)) is not None), None)
