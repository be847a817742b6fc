"""How long a chunk stays in the landing: decisions over names, documents and times. Pure.

The rules are section 15 of docs/landing-format.md.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from service.landing.layout import DATASET_PATTERN, RUN_ID_PATTERN

if TYPE_CHECKING:
    from service.landing.documents import Receipt
    from service.landing.port import Stored

_CHUNK_PATH: Final = re.compile(
    rf"chunks/{DATASET_PATTERN.strip('^$')}/ingestion_date=[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}"
    rf"/run_id=(?P<run_id>{RUN_ID_PATTERN.strip('^$')})/attempt=[1-9][0-9]*"
    r"/(?:part|rejects)-[0-9]{5,}\.jsonl\.gz"
)


class Reason(StrEnum):
    """Why a chunk goes (the first three) or stays."""

    ORPHANED = "orphaned"
    INGESTED = "ingested"
    SUPERSEDED = "superseded"
    ACTIVE = "active"
    RECENT = "recent"
    UNREADABLE = "unreadable"
    AWAITED = "awaited"
    REFUSED = "refused"
    RETAINED = "retained"
    FOREIGN = "foreign"

    @property
    def removes(self) -> bool:
        """Whether a chunk goes for this reason."""
        return self in _REMOVING


_REMOVING: Final = frozenset({Reason.ORPHANED, Reason.INGESTED, Reason.SUPERSEDED})


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about a run, learned in this order: its state, then its commits, then its receipt.

    A run that is ended before its commits are looked for has published all it ever will.
    """

    # None: the run store does not know the run.
    ended: bool | None
    # The paths that its commits name.
    named: frozenset[str] = frozenset()
    # A commit of it that cannot be read may name anything.
    unreadable: bool = False
    receipt: Receipt | None = None


@dataclass(frozen=True, slots=True)
class Retention:
    """How long is long enough, seen from `now` (with its time zone)."""

    days: int
    now: dt.datetime

    def is_over(self, since: dt.datetime) -> bool:
        """Whether that many days have passed since then."""
        return self.now - since >= dt.timedelta(days=self.days)


def run_of(path: str) -> str | None:
    """The run whose chunk or rejects file this is; None when it is neither."""
    match = _CHUNK_PATH.fullmatch(path)
    return match["run_id"] if match else None


def verdict(chunk: Stored, run: Facts | None, retention: Retention) -> Reason:
    """Whether the chunk goes, and why; `run` is None when its path names none."""
    if run is None:
        return Reason.FOREIGN
    if run.ended is False:
        return Reason.ACTIVE
    if run.unreadable:
        return Reason.UNREADABLE
    if chunk.path in run.named:
        return _of_committed(run.receipt, retention)
    if run.ended or _is_old(chunk, retention):
        return Reason.ORPHANED
    return Reason.RECENT


def _of_committed(receipt: Receipt | None, retention: Retention) -> Reason:
    if receipt is None:
        return Reason.AWAITED
    if receipt.state not in {Reason.INGESTED, Reason.SUPERSEDED}:
        return Reason.REFUSED
    since = _moment(receipt.ingested_at)
    return Reason(receipt.state) if since is not None and retention.is_over(since) else Reason.RETAINED


def _is_old(chunk: Stored, retention: Retention) -> bool:
    # A listing without a time says 0: that is no age.
    return chunk.modified_at_s > 0 and retention.is_over(dt.datetime.fromtimestamp(chunk.modified_at_s, dt.UTC))


def _moment(text: str | None) -> dt.datetime | None:
    """The time that a receipt tells; None when it tells none, or not in which zone."""
    try:
        moment = dt.datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else None
